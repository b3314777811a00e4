use std::path::Path;

use futures_util::StreamExt;

use super::{super::testing::tiny_file, *};
use crate::{
    context::Context,
    model::{
        ChatModel, ChatRequest, Sampling, collect,
        local::{LocalConfig, LocalModel},
    },
};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tiny.gguf"), tiny_file()).unwrap();
    folder
}

fn open(folder: &Path, id: &str, config: &LocalConfig, budget: &MemoryBudget) -> Result<LocalModel> {
    LocalModel::load_within(id, &folder.join("tiny.gguf"), config, budget)
}

fn statistics(model: &LocalModel) -> LocalStatistics {
    model.local_statistics().unwrap()
}

async fn ask(model: &LocalModel) -> Result<String> {
    let sampling = Sampling { max_tokens: Some(4), seed: Some(1), ..Sampling::default() };
    let request = ChatRequest { sampling, ..ChatRequest::user("hi") };
    Ok(collect(model.chat(&Context::new(), request).await?).await?.text)
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..2000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not happen within ten seconds");
}

#[tokio::test]
async fn weights_leave_when_nobody_asks_and_come_back_when_someone_does() {
    let folder = folder();
    let model =
        open(folder.path(), "tiny", &LocalConfig::default().idle_unload_s(0), &MemoryBudget::default()).unwrap();
    let first = ask(&model).await.unwrap();
    until(|| !statistics(&model).loaded).await;
    let gone = statistics(&model);
    assert_eq!((gone.weight_bytes, gone.memory_bytes), (0, 0));
    assert!(gone.tokens_written > 0 && model.count_tokens(&ChatRequest::user("hi")).unwrap() > 0);
    assert!(!statistics(&model).loaded, "counting takes no weights");
    assert_eq!(ask(&model).await.unwrap(), first);
    // Counts go on.
    until(|| statistics(&model).tokens_written >= 2 * gone.tokens_written).await;
    until(|| !statistics(&model).loaded).await;
    std::fs::write(folder.path().join("tiny.gguf"), b"another file").unwrap();
    assert_eq!(ask(&model).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn the_longest_unused_leaves_for_another() {
    let folder = folder();
    let config = LocalConfig::default();
    let size = statistics(&open(folder.path(), "a", &config, &MemoryBudget::default()).unwrap()).weight_bytes;
    // Room for the weights of two, and a few pages.
    let budget = MemoryBudget::new(Some(2 * size + size / 2));
    let models = ["a", "b", "c"].map(|id| open(folder.path(), id, &config, &budget).unwrap());
    let loaded = || models.each_ref().map(|model| statistics(model).loaded);
    assert_eq!(loaded(), [false, true, true]);
    ask(&models[1]).await.unwrap();
    until(|| statistics(&models[1]).running == 0).await;
    ask(&models[0]).await.unwrap();
    assert_eq!(loaded(), [true, true, false]);
    let small = MemoryBudget::new(Some(size / 2));
    let error = open(folder.path(), "d", &config, &small).map(drop).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("memory_budget_bytes"), "{error}");
}

#[tokio::test]
async fn no_model_leaves_while_it_writes() {
    let folder = folder();
    let config = LocalConfig::default();
    let size = statistics(&open(folder.path(), "a", &config, &MemoryBudget::default()).unwrap()).weight_bytes;
    let budget = MemoryBudget::new(Some(size + size / 2));
    let a = open(folder.path(), "a", &config, &budget).unwrap();
    let b = open(folder.path(), "b", &config, &budget).unwrap();
    ask(&a).await.unwrap();
    until(|| statistics(&a).running == 0).await;
    // Whoever has taken it hands over an answer next.
    let taken = a.resident.get().unwrap();
    assert_eq!(ask(&b).await.unwrap_err().kind(), ErrorKind::Overloaded);
    drop(taken);
    ask(&b).await.unwrap();
    let stream = b.chat(&Context::new(), ChatRequest::user("hi")).await.unwrap();
    drop(stream.collect::<Vec<_>>().await);
    until(|| statistics(&b).running == 0).await;
    ask(&a).await.unwrap();
    assert!(statistics(&a).loaded && !statistics(&b).loaded);
}
