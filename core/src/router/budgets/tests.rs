use std::sync::atomic::AtomicU64;

use super::*;
use crate::{
    money::{Budget, Day, Period},
    router::ledger::{Ledger, LedgerQuery},
    store::{StoreConfig, Unit},
};

/// A folder, and the budgets on it. Tests that move the time have a clock of their own.
struct Rig {
    folder: tempfile::TempDir,
    store: Store,
    ledger: Ledger,
}

fn rig() -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    Rig { ledger: Ledger::new(store.clone(), None), store, folder }
}

impl Rig {
    fn budgets(&self, budgets: &[BudgetConfig], durable: bool) -> Budgets {
        Budgets::new(budgets, durable, (self.store.clone(), OnTheirWay::default()), system_clock).unwrap()
    }

    async fn spend(&self, budgets: &Budgets, most: &LedgerEntry, cost: i64) -> Result<()> {
        let cx = Context::new();
        let mut holds = budgets.reserve(&cx, &Purpose { entry: most }).await?;
        let entry = LedgerEntry { cost: NanoUsd(cost), failed: false, at_ms: budgets.now_ms(), ..most.clone() };
        let receipt = self.ledger.append(None, entry.clone(), holds.held()).await?;
        holds.settle(NanoUsd(cost), false, &entry);
        receipt.unwrap().committed().await
    }
}

fn entry(cost: i64) -> LedgerEntry {
    LedgerEntry { id: "a".into(), model: "m".into(), cost: NanoUsd(cost), failed: true, ..LedgerEntry::default() }
}

fn nano(limit: i64) -> BudgetConfig {
    BudgetConfig::new(NanoUsd(limit).usd(), Period::Total)
}

async fn reserve(budgets: &Budgets, entry: &LedgerEntry) -> Result<Holds> {
    budgets.reserve(&Context::new(), &Purpose { entry }).await
}

async fn left(budgets: &Budgets) -> Vec<i64> {
    let states = budgets.states().await.unwrap();
    states.iter().map(|state| (state.limit - state.spent - state.held).0).collect()
}

#[tokio::test]
async fn a_call_spends_from_every_budget_that_covers_it_or_from_none() {
    for durable in [true, false] {
        let rig = rig();
        let all =
            [nano(1000), nano(600).tenant("ada"), nano(500).tag("sum"), nano(400).model("dear"), nano(300).key("K")];
        let budgets = rig.budgets(&all, durable);
        let ada = LedgerEntry { tenant: "ada".into(), ..entry(100) };
        rig.spend(&budgets, &ada, 90).await.unwrap();
        let tagged = LedgerEntry { tag: Some("sum".into()), model: "dear".into(), key: Some("K".into()), ..entry(100) };
        rig.spend(&budgets, &tagged, 10).await.unwrap();
        assert_eq!(left(&budgets).await, [900, 510, 490, 390, 290], "{durable}");
        let own = Budget::new(NanoUsd(1000));
        let cx = Context::new().budget(own.clone());
        let dear = LedgerEntry { cost: NanoUsd(350), ..tagged };
        let error = budgets.reserve(&cx, &Purpose { entry: &dear }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OverBudget);
        let facts: Vec<_> = error.context().iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert!(facts.contains(&"budget=key \"K\"".into()), "{facts:?}");
        rig.store.flush().await.unwrap();
        assert_eq!(left(&budgets).await, [900, 510, 490, 390, 290], "a refusal holds nothing: {durable}");
        assert_eq!(own.left(), own.limit());
    }
}

#[tokio::test]
async fn what_is_held_is_given_back_when_it_is_dropped() {
    for durable in [true, false] {
        let rig = rig();
        let budgets = rig.budgets(&[nano(100)], durable);
        let holds = reserve(&budgets, &entry(80)).await.unwrap();
        assert!(reserve(&budgets, &entry(30)).await.is_err());
        assert_eq!(left(&budgets).await, [20]);
        drop(holds);
        rig.store.flush().await.unwrap();
        assert_eq!(left(&budgets).await, [100]);
        assert!(reserve(&budgets, &entry(100)).await.is_ok());
        assert!(reserve(&budgets, &entry(0)).await.unwrap().kept.is_none(), "nothing is held for nothing");
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_while_its_hold_is_written_gives_it_back() {
    let rig = rig();
    let budgets = rig.budgets(&[nano(100)], true);
    budgets.ready().await.unwrap();
    let most = entry(80);
    let mut waiting = Box::pin(reserve(&budgets, &most));
    assert!(futures_util::poll!(&mut waiting).is_pending(), "the job is queued");
    drop(waiting);
    rig.store.flush().await.unwrap();
    assert_eq!(left(&budgets).await, [100]);
}

#[tokio::test]
async fn two_hundred_calls_at_once_spend_no_more_than_there_is() {
    for durable in [true, false] {
        let rig = rig();
        let budgets = rig.budgets(&[nano(1000)], durable);
        let most = entry(30);
        let calls = (0..200).map(|_| rig.spend(&budgets, &most, 30));
        let done = futures_util::future::join_all(calls).await;
        assert_eq!(done.iter().filter(|call| call.is_ok()).count(), 33, "{durable}");
        assert_eq!(left(&budgets).await, [10]);
        assert_eq!(rig.ledger.totals(None).unwrap().cost, NanoUsd(990));
    }
}

#[tokio::test]
async fn what_was_spent_survives_a_new_start_and_a_new_budget_knows_the_past() {
    let rig = rig();
    rig.spend(&rig.budgets(&[nano(1000)], true), &entry(100), 100).await.unwrap();
    let Rig { folder, store, ledger } = rig;
    drop((store, ledger));
    let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    let rig = Rig { ledger: Ledger::new(store.clone(), None), store, folder };
    let month = BudgetConfig { period: Period::Month, ..nano(500) };
    let budgets = rig.budgets(&[nano(1000), month, nano(70).tag("sum")], true);
    assert_eq!(left(&budgets).await, [900, 400, 70]);
    rig.spend(&budgets, &entry(10), 10).await.unwrap();
    assert_eq!(left(&budgets).await, [890, 390, 70]);
}

#[tokio::test]
async fn processes_with_one_folder_share_its_budgets() {
    let rig = rig();
    let (one, other) = (rig.budgets(&[nano(100)], true), rig.budgets(&[nano(100)], true));
    let _held = reserve(&one, &entry(60)).await.unwrap();
    assert!(reserve(&other, &entry(60)).await.is_err(), "what the other one holds is known");
    let forgetful = rig.budgets(&[nano(100)], false);
    assert!(reserve(&forgetful, &entry(60)).await.is_err(), "also to one that does not write its own down");
    // A process without budgets tells those that have some what it spent.
    let entry = LedgerEntry { cost: NanoUsd(40), ..entry(40) };
    rig.ledger.append(None, entry, None).await.unwrap().unwrap().committed().await.unwrap();
    assert_eq!(left(&other).await, [0]);
}

/// Where the clock of a test stands.
static NOW: AtomicU64 = AtomicU64::new(0);

#[tokio::test]
async fn periods_begin_anew_in_utc_and_a_call_counts_where_it_was_held() {
    let rig = rig();
    let at = |text: &str, ms: u64| NOW.store(text.parse::<Day>().unwrap().start_ms() + ms, Ordering::SeqCst);
    at("2026-11-29", 86_399_999);
    let all = [BudgetConfig { period: Period::Day, ..nano(100) }, BudgetConfig { period: Period::Month, ..nano(250) }];
    let budgets =
        Budgets::new(&all, true, (rig.store.clone(), OnTheirWay::default()), || NOW.load(Ordering::SeqCst)).unwrap();
    rig.spend(&budgets, &entry(100), 100).await.unwrap();
    let error = reserve(&budgets, &entry(1)).await.unwrap_err();
    let ends = "2026-11-30".parse::<Day>().unwrap().start_ms().to_string();
    assert!(error.context().iter().any(|(name, value)| *name == "ends_ms" && *value == ends), "{error}");
    at("2026-11-30", 0);
    let late = budgets.reserve(&Context::new(), &Purpose { entry: &entry(100) }).await.unwrap();
    at("2026-12-01", 5);
    assert_eq!(left(&budgets).await, [100, 250]);
    let (done, mut late) = (LedgerEntry { at_ms: budgets.now_ms(), ..entry(90) }, late);
    rig.ledger.append(None, done.clone(), late.held()).await.unwrap().unwrap().committed().await.unwrap();
    late.settle(NanoUsd(90), false, &done);
    assert_eq!(left(&budgets).await, [100, 250], "it was held in November");
    at("2026-11-30", 10);
    assert_eq!(left(&budgets).await, [10, 60]);
}

#[tokio::test]
async fn what_a_task_spent_is_held_until_the_task_is_committed() {
    for durable in [true, false] {
        let rig = rig();
        let budgets = rig.budgets(&[nano(100)], durable);
        let unit = Unit::default();
        let mut holds = reserve(&budgets, &entry(80)).await.unwrap();
        let done = LedgerEntry { failed: false, ..entry(30) };
        assert!(rig.ledger.append(Some(&unit), done.clone(), holds.held()).await.unwrap().is_none());
        holds.settle(NanoUsd(30), true, &done);
        rig.store.flush().await.unwrap();
        assert_eq!(left(&budgets).await, [70], "what it took is held, and no more: {durable}");
        rig.store.commit(unit.take(false)).await.unwrap();
        let [state] = budgets.states().await.unwrap().try_into().unwrap();
        assert_eq!((state.spent, state.held), (NanoUsd(30), NanoUsd::ZERO));
    }
}

/// Holds 60 on the first of `budgets` as a process does that is dead.
#[cfg(target_os = "linux")]
async fn hold_of_the_dead(rig: &Rig, budgets: &Budgets) {
    let limits = [budgets.all[0].at(budgets.now_ms())];
    let scopes = vec![(limits[0].id, limits[0].start_ms)];
    // As a process writes it that has this one's number, but started at another time.
    let mut owner = serde_json::to_value(Owner::me()).unwrap();
    owner["process"] = "another".into();
    owner["started"] = 1.into();
    let row =
        HeldRow { owner: serde_json::from_value(owner).unwrap(), at_ms: budgets.now_ms(), scopes, entry: entry(60) };
    rig.store.write(move |write| rows::hold(write, &[7; 16], &row, &limits)).await.unwrap();
}

/// Where the clock of the next test stands.
static HOURS: AtomicU64 = AtomicU64::new(2_000_000);

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_dead_are_looked_after_again_and_what_no_settings_name_is_forgotten() {
    let rig = rig();
    let clock: Clock = || HOURS.load(Ordering::SeqCst) * LOOK_AGAIN_MS;
    let open =
        |all: &[BudgetConfig]| Budgets::new(all, true, (rig.store.clone(), OnTheirWay::default()), clock).unwrap();
    let budgets = open(&[nano(200), nano(50).tag("old")]);
    budgets.ready().await.unwrap();
    hold_of_the_dead(&rig, &budgets).await;
    assert_eq!(left(&budgets).await, [140, 50]);
    HOURS.fetch_add(1, Ordering::SeqCst);
    drop(reserve(&budgets, &entry(1)).await.unwrap());
    rig.store.flush().await.unwrap();
    assert_eq!(rig.ledger.totals(None).unwrap().wasted, NanoUsd(60), "an hour later");
    hold_of_the_dead(&rig, &budgets).await;
    drop(open(&[]));
    rig.store.flush().await.unwrap();
    assert_eq!(rig.ledger.totals(None).unwrap().wasted, NanoUsd(120), "also by one without budgets");

    let scopes = || rig.store.read(|read| Ok(read.tables.budgets.prefix(read.txn, b"d")?.count())).unwrap();
    let newer = open(&[nano(200)]);
    HOURS.fetch_add(24 * 60, Ordering::SeqCst);
    newer.ready().await.unwrap();
    assert_eq!(scopes(), 2);
    HOURS.fetch_add(24 * 60, Ordering::SeqCst);
    newer.ready().await.unwrap();
    rig.store.flush().await.unwrap();
    assert_eq!(scopes(), 1, "nobody named the other one for a hundred days");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_a_dead_process_held_is_spent_and_stands_in_the_ledger_as_failed() {
    let rig = rig();
    let budgets = rig.budgets(&[nano(100)], true);
    budgets.ready().await.unwrap();
    hold_of_the_dead(&rig, &budgets).await;
    let _mine = reserve(&budgets, &entry(30)).await.unwrap();
    let again = rig.budgets(&[nano(100)], true);
    let [state] = again.states().await.unwrap().try_into().unwrap();
    assert_eq!((state.spent, state.held), (NanoUsd(60), NanoUsd(30)), "what lives is left alone");
    let [lost] = rig.ledger.query(&LedgerQuery::default()).unwrap().try_into().unwrap();
    assert_eq!(lost, entry(60));
    assert_eq!(rig.ledger.totals(None).unwrap().wasted, NanoUsd(60));
    rig.budgets(&[nano(100)], true).ready().await.unwrap();
    assert_eq!(rig.ledger.totals(None).unwrap().cost, NanoUsd(60), "once");
}

#[tokio::test]
async fn a_soft_limit_warns_once_and_makes_thrifty_but_refuses_nothing() {
    let rig = rig();
    let soft = BudgetConfig { soft_usd: Some(NanoUsd(50).usd()), ..nano(100) }.tag("sum");
    let budgets = rig.budgets(&[soft], true);
    let (sink, names) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let (seen, count) = (Arc::clone(&sink), Arc::clone(&names));
    let watch = crate::monitor::FnSink(move |event: &crate::monitor::Event| {
        *count.lock().unwrap() += 1;
        seen.lock().unwrap().push(event.kind.clone());
    });
    let cx = Context::new().events(Arc::new(watch));
    let tagged = |cost| LedgerEntry { tag: Some("sum".into()), ..entry(cost) };
    let mut held = Vec::new();
    for (cost, thrifty) in [(40, false), (20, true), (10, true)] {
        held.push(budgets.reserve(&cx, &Purpose { entry: &tagged(cost) }).await.unwrap());
        assert_eq!(budgets.is_thrifty("", Some("sum")).await.unwrap(), thrifty);
        assert!(!budgets.is_thrifty("", None).await.unwrap());
    }
    let seen = sink.lock().unwrap();
    let EventKind::BudgetLow { budget, taken, soft, limit } = &seen[0] else { panic!("{seen:?}") };
    assert_eq!((budget.as_str(), taken.0, soft.0, limit.0, seen.len()), ("tag \"sum\"", 60, 50, 100, 1));
}

#[test]
fn a_budget_that_makes_no_sense_is_refused() {
    let rig = rig();
    let refused = |budgets: &[BudgetConfig]| {
        let error = Budgets::new(budgets, true, (rig.store.clone(), OnTheirWay::default()), system_clock).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.message().to_owned()
    };
    assert!(refused(&[nano(-1)]).contains("not negative"));
    assert!(refused(&[nano(1).soft_usd(1.0)]).contains("soft_usd"));
    assert!(refused(&[nano(1), nano(2)]).contains("same calls"));
    assert!(refused(&[nano(1).tag("x".repeat(65))]).contains("tag"));
    assert!(refused(&[BudgetConfig::new(f64::NAN, Period::Day)]).contains("finite"));
    let day = BudgetConfig { period: Period::Day, ..nano(1) };
    assert!(
        Budgets::new(
            &[nano(1), day, nano(1).tenant("")],
            true,
            (rig.store.clone(), OnTheirWay::default()),
            system_clock
        )
        .is_ok()
    );
}

#[test]
fn a_budget_of_a_key_is_for_all_keys_of_its_name() {
    let scope = BudgetScope { key: Some("K".into()), ..BudgetScope::default() };
    let paid_by = |key: &str| LedgerEntry { key: Some(key.into()), ..LedgerEntry::default() };
    assert!(["K", "K#2", "K#10"].iter().all(|key| scope.covers(&paid_by(key))));
    assert!(["K#", "K#a", "L#2", "KK"].iter().all(|key| !scope.covers(&paid_by(key))));
}
