use super::*;
use crate::{
    model::Usage,
    money::{Day, NanoUsd},
    store::StoreConfig,
};

fn entry(id: u64, tenant: &str, cost: i64) -> LedgerEntry {
    LedgerEntry {
        id: id.to_string(),
        at_ms: id,
        tenant: tenant.into(),
        model: "m".into(),
        cost: NanoUsd(cost),
        reference_cost: NanoUsd(100),
        saved: NanoUsd(100 - cost),
        ..LedgerEntry::default()
    }
    .took(&Usage { cached_tokens: 1, ..Usage::of(10, 5) })
}

fn open() -> (tempfile::TempDir, Ledger) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    (folder, Ledger::new(store, None))
}

#[tokio::test]
async fn entries_come_newest_first_and_sums_agree() {
    let (_folder, ledger) = open();
    for id in 0..300_u64 {
        let tenant = if id % 3 == 0 { "ada" } else { "" };
        let receipt = ledger.append(None, entry(id, tenant, id as i64), None).await.unwrap();
        if id == 299 {
            receipt.unwrap().committed().await.unwrap();
        }
    }
    let all = ledger.query(&LedgerQuery::default()).unwrap();
    assert_eq!(all.len(), 100);
    assert!(all.windows(2).all(|pair| pair[0].at_ms > pair[1].at_ms) && all[0].id == "299");
    let query =
        LedgerQuery { tenant: Some("ada".into()), since_ms: Some(150), limit: Some(1000), ..LedgerQuery::default() };
    let ada = ledger.query(&query).unwrap();
    assert_eq!(ada.len(), 50);
    let totals = ledger.totals(None).unwrap();
    assert_eq!((totals.calls, totals.cost, totals.input_tokens), (300, NanoUsd(299 * 150), 3000));
    assert_eq!(ledger.totals(Some("ada")).unwrap().calls, 100);
    assert_eq!(ledger.totals(Some("")).unwrap().calls, 200, "calls without a tenant are not all calls");
    assert_eq!(ledger.totals(Some("bob")).unwrap(), LedgerTotals::default());
    assert_eq!(totals.reference_cost - totals.cost, totals.saved);
}

#[tokio::test]
async fn an_entry_of_a_unit_waits_for_it_and_survives_its_failure() {
    let (_folder, ledger) = open();
    let unit = Unit::default();
    assert!(ledger.append(Some(&unit), entry(1, "", 5), None).await.unwrap().is_none());
    assert_eq!(ledger.totals(None).unwrap().calls, 0);
    ledger.store.commit(unit.take(false)).await.unwrap();
    assert_eq!(ledger.totals(None).unwrap().calls, 1);
}

#[test]
fn what_a_dropped_call_spent_is_written_outside_a_runtime() {
    let (folder, ledger) = open();
    ledger.append_soon(None, entry(1, "", 5), None);
    drop(ledger);
    let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    assert_eq!(Ledger::new(store, None).totals(None).unwrap().cost, NanoUsd(5));
}

#[tokio::test]
async fn an_entry_for_a_unit_that_ended_is_written_at_once() {
    let (_folder, ledger) = open();
    let unit = Unit::default();
    assert!(unit.take(true).is_empty());
    ledger.append(Some(&unit), entry(1, "", 5), None).await.unwrap().unwrap().committed().await.unwrap();
    ledger.append_soon(Some(&unit), entry(2, "", 7), None);
    ledger.store.flush().await.unwrap();
    assert_eq!(ledger.totals(None).unwrap().cost, NanoUsd(12));
}

#[tokio::test]
async fn failed_attempts_are_apart_but_for_what_they_cost() {
    let (_folder, ledger) = open();
    let failed = LedgerEntry { failed: true, reference_cost: NanoUsd::ZERO, saved: NanoUsd(-7), ..entry(1, "", 7) };
    ledger.append_soon(None, failed, None);
    ledger.append_soon(None, entry(1, "", 5), None);
    ledger.store.flush().await.unwrap();
    let totals = ledger.totals(None).unwrap();
    assert_eq!((totals.calls, totals.failed, totals.input_tokens, totals.wasted_tokens), (1, 1, 10, 15));
    assert_eq!((totals.cost, totals.wasted, totals.saved), (NanoUsd(12), NanoUsd(7), NanoUsd(88)));
}

#[tokio::test]
async fn entries_are_found_and_summed_up_by_what_they_are_of() {
    let (_folder, ledger) = open();
    let day = "2026-11-22".parse::<Day>().unwrap().start_ms();
    for (id, tag, model, key) in [(1, Some("sum"), "a", None), (2, None, "a", Some("K")), (3, Some("sum"), "b", None)] {
        let entry = LedgerEntry {
            at_ms: day + id * 80_000_000,
            tag: tag.map(str::to_owned),
            model: model.into(),
            key: key.map(str::to_owned),
            ..entry(id, "", 1)
        };
        ledger.append_soon(None, entry, None);
    }
    ledger.store.flush().await.unwrap();
    let ids = |query: LedgerQuery| {
        ledger.query(&query).unwrap().into_iter().map(|entry| entry.id).collect::<Vec<_>>().join(" ")
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(ids(LedgerQuery { tag: some("sum"), ..LedgerQuery::default() }), "3 1");
    assert_eq!(ids(LedgerQuery { model: some("a"), ..LedgerQuery::default() }), "2 1");
    assert_eq!(ids(LedgerQuery { key: some("K"), ..LedgerQuery::default() }), "2");
    assert_eq!(ids(LedgerQuery { until_ms: Some(day + 160_000_000), ..LedgerQuery::default() }), "1");
    let groups = |by| {
        let groups = ledger.grouped(by, &LedgerQuery::default()).unwrap();
        groups.into_iter().map(|group| format!("{}:{}", group.group, group.totals.calls)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(groups(LedgerGroup::Tag), ":1 sum:2");
    assert_eq!(groups(LedgerGroup::Model), "a:2 b:1");
    assert_eq!(groups(LedgerGroup::Key), ":2 K:1");
    assert_eq!(groups(LedgerGroup::Day), "2026-11-22:1 2026-11-23:1 2026-11-24:1");
    assert_eq!(groups(LedgerGroup::Tenant), ":3");
}

#[tokio::test]
async fn entries_and_sums_of_before_there_was_more_to_say_are_read() {
    let (_folder, ledger) = open();
    let old = r#"{"id":"a","at_ms":1,"tenant":"","model":"m","input_tokens":10,"cached_tokens":1,"output_tokens":5,
        "cost":5,"reference_cost":100,"saved":95}"#;
    let sums =
        r#"{"calls":1,"input_tokens":10,"cached_tokens":1,"output_tokens":5,"cost":5,"reference_cost":100,"saved":95}"#;
    let write = move |write: &mut Write<'_, '_>| {
        write.tables.ledger.put(write.txn, &0_u64.to_be_bytes(), old.as_bytes())?;
        write.tables.totals.put(write.txn, &totals_key(None), sums.as_bytes())
    };
    ledger.store.write(write).await.unwrap();
    let [read] = ledger.query(&LedgerQuery::default()).unwrap().try_into().unwrap();
    assert_eq!(read, LedgerEntry { id: "a".into(), at_ms: 1, ..entry(1, "", 5) });
    assert!(!read.failed && read.tag.is_none() && read.decision.is_none());
    ledger.append(None, entry(2, "", 7), None).await.unwrap().unwrap().committed().await.unwrap();
    assert_eq!(ledger.totals(None).unwrap().cost, NanoUsd(12));
    assert_eq!(ledger.query(&LedgerQuery::default()).unwrap().len(), 2);
}

#[tokio::test]
async fn old_entries_go_when_they_are_not_to_be_kept_and_sums_stay() {
    let (_folder, mut ledger) = open();
    let at = |day: u64| LedgerEntry { at_ms: day * DAY_MS, ..entry(day, "", 1) };
    for day in 0..20 {
        ledger.append_soon(None, at(day), None);
    }
    ledger.keep_days = Some(10);
    for _ in 0..5 {
        ledger.append_soon(None, at(20), None);
    }
    ledger.store.flush().await.unwrap();
    let left = ledger.query(&LedgerQuery::default()).unwrap();
    assert_eq!((left.len(), left.last().unwrap().id.as_str()), (10 + 5, "10"));
    assert_eq!(ledger.totals(None).unwrap().calls, 25);
}

#[test]
fn a_tag_is_a_short_name() {
    assert!(check_tag(None).is_ok() && check_tag(Some(&"x".repeat(64))).is_ok());
    for tag in [String::new(), "x".repeat(65)] {
        assert!(check_tag(Some(&tag)).unwrap_err().message().contains("1 to 64 bytes"));
    }
}
