use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::*;
use crate::{
    engine::FnFunction,
    model::{ChatRequest, ChatStream, Delta, EmbedderConfig, FinishReason, ModelProfile, Price, Usage},
    money::NanoUsd,
    parallel::{Plan, Task},
    team::scripted::WordEmbedder,
};

/// Costs a dollar an answer.
#[derive(Debug)]
struct Dear(ModelProfile);

impl Dear {
    fn new() -> Arc<Self> {
        let mut profile = ModelProfile::local("dear", 1000);
        profile.price = Price { output: NanoUsd(NanoUsd::PER_USD * 1_000_000), ..Price::default() };
        Arc::new(Self(profile))
    }
}

#[async_trait]
impl ChatModel for Dear {
    fn profile(&self) -> &ModelProfile {
        &self.0
    }

    async fn chat(&self, _: &Context, _: ChatRequest) -> Result<ChatStream> {
        let usage = Usage { output_tokens: 1, ..Usage::default() };
        let done = Delta::Done { usage, finish_reason: FinishReason::Stop };
        Ok(stream::iter([Ok(Delta::Text { text: "yes".into() }), Ok(done)]).boxed())
    }
}

async fn open(folder: &std::path::Path) -> Triune {
    let config = Config::from_json(json!({"discover": false})).unwrap();
    Triune::builder(folder.to_str().unwrap()).config(config).model(Dear::new()).open().await.unwrap()
}

#[tokio::test]
async fn what_a_task_spent_before_the_close_is_in_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let mind = open(folder.path()).await;
    let paid = Arc::new(AtomicUsize::new(0));
    let (tool, seen) = (mind.clone(), Arc::clone(&paid));
    let body = FnFunction::new("pays", move |cx: Context, _| {
        let (mind, paid) = (tool.clone(), Arc::clone(&seen));
        async move {
            mind.generate(&cx, GenerateRequest::new("a")).await?;
            paid.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        }
    });
    mind.register_function(Arc::new(body)).unwrap();
    let tasks = (0..3).map(|i| Task::function(format!("t{i}"), "pays")).collect();
    let request = RunRequest::new(Plan { tasks });
    let _run = mind.parallel().start(&mind.context(), request).await.unwrap();
    while paid.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(mind.router().totals(None).unwrap().calls, 0, "they wait for the end of their tasks");
    mind.close().await;
    let totals = mind.router().totals(None).unwrap();
    assert_eq!((totals.calls, totals.cost), (3, NanoUsd(3 * NanoUsd::PER_USD)));
}

#[tokio::test]
async fn what_a_task_spent_is_kept_when_the_runtime_of_the_host_just_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let host = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mind = open(&path).await;
            let (paid, mut was_paid) = tokio::sync::mpsc::channel(1);
            let tool = mind.clone();
            let body = FnFunction::new("pays", move |cx: Context, _| {
                let (mind, paid) = (tool.clone(), paid.clone());
                async move {
                    mind.generate(&cx, GenerateRequest::new("a")).await?;
                    let _ = paid.send(()).await;
                    std::future::pending().await
                }
            });
            mind.register_function(Arc::new(body)).unwrap();
            let request = RunRequest::new(Plan { tasks: vec![Task::function("t", "pays")] });
            let _run = mind.parallel().start(&mind.context(), request).await.unwrap();
            was_paid.recv().await.unwrap();
            // The function holds the mind, so it has to go before the folder can be closed.
            mind.parallel().functions().clear();
        });
    });
    host.join().unwrap();
    assert_eq!(open(folder.path()).await.router().totals(None).unwrap().calls, 1);
}

#[tokio::test]
async fn the_embedder_of_the_program_goes_before_that_of_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config { discover: false, ..Config::default() };
    config.embedder = Some(EmbedderConfig { source: "not-on-this-machine".into(), ..EmbedderConfig::default() });
    let open = || Triune::builder(folder.path().to_str().unwrap()).config(config.clone());
    let mind = open().embedder(Arc::new(WordEmbedder::new())).open().await.unwrap();
    assert_eq!(mind.router().embedder().unwrap().profile().id, "words");
    drop(mind);
    assert_eq!(open().open().await.unwrap_err().kind(), ErrorKind::NotFound);
}
