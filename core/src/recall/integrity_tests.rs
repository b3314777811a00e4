//! What is stored agrees with itself, and what does not is found.

use proptest::prelude::*;
use serde_json::json;

use super::{
    tests::{Memory, item, memory, memory_with},
    *,
};
use crate::{
    Context, Result,
    store::{CheckReport, Store, Write},
};

fn problems(store: &Store) -> Vec<String> {
    let mut report = CheckReport::default();
    check_recall(store, &mut report).unwrap();
    assert_eq!(report.inconsistent, report.problems.len() as u64);
    report.problems
}

async fn fill(recall: &RecallEngine, cx: &Context) {
    for at in 0..6 {
        let request = json!({
            "content": format!("turn {at} of a talk about whales"), "id": format!("t{at}"), "session": "talk",
            "speaker": "Ada", "metadata": {"at": at}, "relations": [{"kind": "near", "to": "whales"}],
        });
        recall.store(cx, serde_json::from_value(request).unwrap()).await.unwrap();
    }
    recall.store(cx, item("long", &"A sentence about ships and whales. ".repeat(200))).await.unwrap();
    recall.store(cx, item("t2", "something else")).await.unwrap();
}

#[tokio::test]
async fn each_kind_of_disagreement_is_found() {
    type Break = fn(&mut Write<'_, '_>, &namespace::Namespace) -> Result<()>;
    let first = |write: &Write<'_, '_>, table: crate::store::Table, prefix: &[u8]| {
        table.keys(write.txn, prefix).unwrap().next().unwrap().unwrap().to_vec()
    };
    let breaks: [(Break, &str); 9] = [
        (|write, ns| write.tables.ids.delete(write.txn, &ns.id_key("t0")).map(drop), "not under their ids"),
        (|write, ns| write.tables.terms.delete(write.txn, &ns.item_key(0)).map(drop), "table of terms"),
        (|write, ns| write.tables.slots.delete(write.txn, &ns.item_key(0)).map(drop), "no slot"),
        (|write, ns| write.tables.vectors.delete(write.txn, &ns.item_key(1)).map(drop), "vectors"),
        (|write, ns| write.tables.words.delete(write.txn, &ns.prefix()).map(drop), "are noted"),
        (|write, ns| write.tables.facets.delete_prefix(write.txn, &ns.prefix()).map(drop), "index of facts"),
        (|write, ns| write.tables.sessions.delete_prefix(write.txn, &ns.prefix()).map(drop), "sessions"),
        (|write, ns| write.tables.passages.delete_prefix(write.txn, &ns.prefix()).map(drop), "no part of the text"),
        (
            |write, ns| namespace::keep(write, "default", &namespace::Namespace { items: 99, ..ns.clone() }),
            "99 are noted",
        ),
    ];
    for (damage, told) in breaks {
        let folder = tempfile::tempdir().unwrap();
        let Memory { recall, store, .. } = memory(folder.path());
        fill(&recall, &Context::new()).await;
        assert_eq!(problems(&store), Vec::<String>::new());
        let job = move |write: &mut Write<'_, '_>| {
            let namespace = namespace::find_in(write, "default")?.unwrap();
            damage(write, &namespace)
        };
        store.write(job).await.unwrap();
        let found = problems(&store);
        assert!(found.iter().any(|problem| problem.contains(told)), "{told}: {found:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, store, .. } = memory(folder.path());
    fill(&recall, &Context::new().tenant("acme")).await;
    let job = move |write: &mut Write<'_, '_>| {
        let namespace = namespace::find_in(write, "acme\0default")?.unwrap();
        let (edges, postings) = (write.tables.edges, write.tables.postings);
        let forth = first(write, edges, &[&namespace.prefix()[..], &[0]].concat());
        edges.delete(write.txn, &forth)?;
        let posting = first(write, postings, &namespace.prefix());
        postings.delete(write.txn, &posting).map(drop)
    };
    store.write(job).await.unwrap();
    let found = problems(&store);
    assert!(found.iter().all(|problem| problem.starts_with("namespace acme/default: ")), "{found:?}");
    assert!(found.iter().any(|problem| problem.contains("5 relations go forth and 6 back, 1 of which")), "{found:?}");
    assert!(found.iter().any(|problem| problem.contains("items name")), "{found:?}");
}

#[tokio::test]
async fn codes_and_lists_are_compared_with_the_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let config = RecallConfig { index: IndexChoice::Ivf, scan_limit: 1_000, ..RecallConfig::default() };
    let Memory { recall, store, runtime, .. } = memory_with(folder.path(), config.clone());
    let cx = Context::new();
    let vector = |at: usize| (0..8).map(|d| ((at * 31 + d * 17) % 97) as f32 - 48.0).collect::<Vec<f32>>();
    for part in 0..4 {
        let items = (0..600).map(|at| StoreRequest { vector: Some(vector(part * 600 + at)), ..StoreRequest::new("x") });
        recall.store_many(&cx, items.collect()).await.unwrap();
    }
    runtime.close().await;
    measure::settle(&config, &store, "default").await.unwrap();
    assert_eq!(recall.statistics(&cx, "default").await.unwrap().index.kind, "ivf");
    assert_eq!(problems(&store), Vec::<String>::new());
    let job = |write: &mut Write<'_, '_>| {
        let namespace = namespace::find_in(write, "default")?.unwrap();
        let codes = write.tables.codes;
        let mut block = codes.get(write.txn, &namespace.item_key(0))?.unwrap().to_vec();
        // The first code, and which items have one.
        block[128] ^= 1;
        block[1] = 0;
        codes.put(write.txn, &namespace.item_key(0), &block)?;
        let keys: Vec<Vec<u8>> =
            write.tables.lists.keys(write.txn, &namespace.prefix())?.map(|key| key.unwrap().to_vec()).collect();
        write.tables.lists.delete(write.txn, &keys[0]).map(drop)
    };
    store.write(job).await.unwrap();
    let found = problems(&store);
    assert!(
        found.iter().any(|problem| problem.contains("8 vectors have no code") && problem.contains("1 have a wrong")),
        "{found:?}"
    );
    assert!(found.iter().any(|problem| problem.contains("in no list")), "{found:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever is stored, replaced, superseded and forgotten: the tables agree.
    #[test]
    fn what_is_stored_and_forgotten_agrees(steps in prop::collection::vec((0..5_u8, "[a-e]", "[xyz]", 0..5_u8), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let Memory { recall, store, .. } = memory(folder.path());
        let cx = Context::new();
        for (what, id, other, kind) in steps {
            let text = if kind == 0 { "One sentence more. ".repeat(200) } else { format!("text {other} number {kind}") };
            let mut request = json!({"content": text, "id": id, "metadata": {"k": kind}});
            let step = match what {
                0 => { request["session"] = json!(other); request["speaker"] = json!("Ada"); None }
                1 => { request["supersedes"] = json!(if id == "a" { "b" } else { "a" }); None }
                2 => { request["duplicates"] = json!("merge"); request["relations"] = json!([{"kind": "k", "to": other}]); None }
                3 => Some(json!({"ids": [id]})),
                _ => { request["ttl_ms"] = json!(1_000_000); None }
            };
            match step {
                Some(forget) => drop(runtime.block_on(recall.forget(&cx, serde_json::from_value(forget).unwrap()))),
                // What supersedes something that is not there is refused.
                None => drop(runtime.block_on(recall.store(&cx, serde_json::from_value(request).unwrap()))),
            }
        }
        prop_assert_eq!(problems(&store), Vec::<String>::new());
    }
}
