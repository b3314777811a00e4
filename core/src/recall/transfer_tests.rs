//! Export and import.

use std::{
    io::Cursor,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::{
    tests::{Letters, Memory, item, memory, memory_with, tagged},
    *,
};
use crate::{Context, ErrorKind, Result};

/// Takes what is written.
#[derive(Clone, Debug, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn exported(recall: &RecallEngine, cx: &Context, vectors: bool) -> String {
    let sink = Sink::default();
    let request = ExportRequest { vectors, ..ExportRequest::default() };
    recall.export(cx, request, sink.clone()).await.unwrap();
    let bytes = sink.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

async fn import(recall: &RecallEngine, cx: &Context, text: &str) -> Result<ImportReport> {
    recall.import(cx, ImportRequest::default(), Cursor::new(text.to_owned().into_bytes())).await
}

fn relate(namespace: &str, from: &str, to: &str) -> RelateRequest {
    serde_json::from_value(json!({"namespace": namespace, "from": from, "kind": "knows", "to": to, "weight": 0.5}))
        .unwrap()
}

async fn fill(recall: &RecallEngine, cx: &Context) {
    recall
        .store(cx, tagged("paris", "Ada moved to Paris\nin \"2024\" \u{2028}", &json!({"year": 2024})))
        .await
        .unwrap();
    recall.store(cx, item("cook", "Bob likes cooking")).await.unwrap();
    recall.store(cx, item("cook", "Bob likes to cook")).await.unwrap();
    recall.store(cx, StoreRequest { namespace: "other".into(), ..item("x", "something else") }).await.unwrap();
    recall.relate(cx, relate("default", "Ada", "Bob")).await.unwrap();
    recall.relate(cx, relate("other", "Bob", "Bob")).await.unwrap();
}

#[tokio::test]
async fn what_was_exported_is_imported_as_it_was_and_only_once() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, to) = (memory(one.path()), memory(two.path()));
    let cx = Context::new();
    fill(&from.recall, &cx).await;
    let text = exported(&from.recall, &cx, true).await;
    assert_eq!(text.lines().count(), 2 + 3 + 1 + 2);
    let line: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    assert!(line["item"]["id"] == "paris" && line["item"]["vector"].as_array().unwrap().len() == 26, "{line}");
    let report = import(&to.recall, &cx, &text).await.unwrap();
    assert_eq!(report, ImportReport { stored: 3, unchanged: 0, vectors: 3, versions: 1, relations: 2 });
    assert_eq!(exported(&to.recall, &cx, true).await, text, "times and vectors too");
    let again = import(&to.recall, &cx, &text).await.unwrap();
    assert_eq!(again, ImportReport { stored: 0, unchanged: 3, vectors: 0, versions: 0, relations: 2 });
    let query = || RecallQuery::new("Where did Ada move in 2024?", 5);
    let (a, b) = (from.recall.query(&cx, query()).await.unwrap(), to.recall.query(&cx, query()).await.unwrap());
    assert_eq!(a, b);
    // The embedder still fits: its vectors were taken over as its own.
    to.recall.store(&cx, item("more", "one more")).await.unwrap();
}

#[tokio::test]
async fn sessions_times_passages_and_history_come_along() {
    let (one, two, three) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, to) = (memory(one.path()), memory(two.path()));
    let cx = Context::new();
    let store = |request: Value| {
        let (recall, cx) = (&from.recall, &cx);
        async move { recall.store(cx, serde_json::from_value(request).unwrap()).await.unwrap() }
    };
    for at in 0..4 {
        let text = format!("turn {at} {}", "of a talk ");
        store(json!({"content": text, "id": format!("t{at}"), "session": "talk", "speaker": "Ada Lovelace"})).await;
    }
    // Replaced where it was, with another number; one of many passages; one that superseded another.
    let long = "A sentence about whales and ships. ".repeat(200);
    store(json!({"content": long, "id": "t1", "session": "talk", "importance": 0.5})).await;
    store(json!({"content": "Bob lives in Rome", "id": "rome", "valid_from": "2020-01-01"})).await;
    store(json!({"content": "Bob lives in Oslo", "id": "oslo", "valid_from": "2024-01-01", "supersedes": "rome"}))
        .await;
    store(json!({"content": "Bob lives in Rome now", "id": "rome", "ttl_ms": 1_000_000_000})).await;
    let text = exported(&from.recall, &cx, true).await;
    let order: Vec<String> = text
        .lines()
        .filter_map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["item"]["id"].as_str().map(str::to_owned)
        })
        .collect();
    assert_eq!(order, ["t0", "t1", "t2", "t3", "oslo", "rome"]);
    import(&to.recall, &cx, &text).await.unwrap();
    assert_eq!(exported(&to.recall, &cx, true).await, text);
    for id in ["t1", "rome", "oslo"] {
        let history = |memory: &Memory| {
            let recall = memory.recall.clone();
            async move { recall.history(&Context::new(), "default", id).await.unwrap() }
        };
        assert_eq!(history(&to).await, history(&from).await, "{id}");
    }
    for question in ["What of whales?", "Where does Bob live?", "What did Ada say in turn 2?"] {
        let ask = |memory: &Memory| {
            let recall = memory.recall.clone();
            async move { recall.query(&Context::new(), RecallQuery::new(question, 5)).await.unwrap() }
        };
        assert_eq!(ask(&to).await, ask(&from).await, "{question}");
    }
    // Cut and embedded anew, the items are the same.
    let other = memory(three.path());
    other.router.set_embedder(Letters::named("others"));
    import(&other.recall, &cx, &text).await.unwrap();
    assert_eq!(exported(&other.recall, &cx, false).await, exported(&from.recall, &cx, false).await);
    for bad in [json!([{"start": 0, "end": 3, "vector": [1.0]}]), json!([{"start": 1, "end": 4, "vector": [1.0]}])] {
        let item = json!({"item": {"id": "x", "text": "abcd", "metadata": {}, "namespace": "n", "stored_ms": 1, "passages": bad}});
        assert_eq!(import(&to.recall, &cx, &item.to_string()).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn an_item_that_changed_is_put_back_and_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let cx = Context::new();
    fill(&recall, &cx).await;
    let text = exported(&recall, &cx, false).await;
    recall.store(&cx, item("cook", "Bob likes to eat")).await.unwrap();
    recall.store(&cx, item("new", "stays")).await.unwrap();
    let report = import(&recall, &cx, &text).await.unwrap();
    assert_eq!((report.stored, report.unchanged), (1, 2));
    assert_eq!(recall.get(&cx, "default", "cook").await.unwrap().unwrap().text, "Bob likes to cook");
    assert!(recall.get(&cx, "default", "new").await.unwrap().is_some());
}

#[tokio::test]
async fn vectors_of_another_embedder_are_made_anew() {
    let (one, two, three) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let from = memory(one.path());
    let cx = Context::new();
    fill(&from.recall, &cx).await;
    let text = exported(&from.recall, &cx, true).await;
    let to = memory(two.path());
    to.router.set_embedder(Letters::named("others"));
    let report = import(&to.recall, &cx, &text).await.unwrap();
    assert_eq!((report.stored, report.vectors), (3, 0));
    assert!(exported(&to.recall, &cx, true).await.contains(r#""embedder":"others""#));
    // Where there is no embedder they are kept, and bind the namespace to theirs.
    let bare = memory_with(three.path(), RecallConfig::default());
    assert_eq!(import(&bare.recall, &cx, &text).await.unwrap().vectors, 3);
    bare.router.set_embedder(Letters::named("letters"));
    bare.recall.store(&cx, item("more", "one more")).await.unwrap();
    // Without vectors in the file, and without an embedder, words alone are found.
    let words = exported(&from.recall, &cx, false).await;
    assert!(!words.contains("vector"));
}

#[tokio::test]
async fn a_bad_line_is_told_by_its_number_and_what_came_before_stays() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let cx = Context::new();
    let good: String = (0..1_100)
        .map(|at| json!({"content": format!("text {at}"), "id": at.to_string()}).to_string() + "\n")
        .collect();
    for (bad, number) in [
        ("{\"content\": 5}\n", "1101"),
        ("\n\nnonsense\n", "1103"),
        ("{\"content\": \" \"}", "1101"),
        ("{\"content\": \"a\", \"namespace\": \"\"}", "1101"),
        ("{\"relation\": {\"from\": \"a\", \"kind\": \"\", \"to\": \"b\"}}", "1101"),
        (
            "{\"namespace\": {\"format\": 1, \"name\": \"x\", \"items\": 2}}\n{\"item\": {\"id\": \"a\", \"text\": \"t\", \"metadata\": {}, \"namespace\": \"x\", \"stored_ms\": 1}}\n",
            "1103",
        ),
    ] {
        let text = format!("\u{feff}{good}{bad}");
        let error = match import(&recall, &cx, &text).await {
            Err(error) => error,
            // The last batch was imported; then the end of the file was missed.
            Ok(report) => panic!("{bad}: {report:?}"),
        };
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}: {error}");
        let told = error.context().iter().find(|(name, _)| *name == "line").map(|(_, line)| line.as_str());
        assert_eq!(told, Some(number), "{bad}: {error}");
        assert!(recall.get(&cx, "default", "1099").await.unwrap().is_some(), "what comes before stays");
        let all = ForgetRequest { namespace: "default".into(), ids: vec![], filter: None, all: true };
        recall.forget(&cx, all).await.unwrap();
    }
    assert!(recall.get(&cx, "x", "a").await.unwrap().is_some());
    let newer = "{\"namespace\": {\"format\": 2, \"name\": \"x\", \"items\": 0}}";
    assert_eq!(import(&recall, &cx, newer).await.unwrap_err().kind(), ErrorKind::Unsupported);
    let error = recall.import(&cx, ImportRequest::default(), Cursor::new(vec![0xff, 0xfe, b'\n'])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn all_can_be_put_into_one_namespace_of_a_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let (cx, tenant) = (Context::new(), Context::new().tenant("a"));
    fill(&recall, &cx).await;
    let text = exported(&recall, &cx, true).await;
    assert_eq!(exported(&recall, &tenant, true).await, "", "nothing of others is exported");
    let into = ImportRequest { namespace: Some("one".into()) };
    recall.import(&tenant, into, Cursor::new(text.into_bytes())).await.unwrap();
    assert_eq!(recall.namespaces(&tenant).await.unwrap(), ["one"]);
    assert_eq!(recall.namespaces(&cx).await.unwrap(), ["default", "other"]);
    let text = exported(&recall, &tenant, false).await;
    assert_eq!((text.matches("{\"item\"").count(), text.matches("{\"relation\"").count()), (3, 2));
    let request = ExportRequest { namespace: Some("default".into()), vectors: false };
    let unknown = recall.export(&tenant, request, Sink::default()).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_file_is_there_when_it_is_whole() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Memory { recall, .. } = memory(folder.path());
    let cx = Context::new();
    fill(&recall, &cx).await;
    let path = other.path().join("mind.jsonl");
    let missing = ExportRequest { namespace: Some("none".into()), vectors: true };
    assert_eq!(recall.export_to(&cx, missing, &path).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
    let report = recall.export_to(&cx, ExportRequest::default(), &path).await.unwrap();
    assert_eq!(report, ExportReport { namespaces: 2, items: 3, versions: 1, relations: 2 });
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 1);
    assert_eq!(recall.import_from(&cx, ImportRequest::default(), &path).await.unwrap().unchanged, 3);
    let error = recall.import_from(&cx, ImportRequest::default(), &other.path().join("none")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
