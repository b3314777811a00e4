use std::{
    path::Path,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use futures_util::StreamExt;

use super::{super::testing::tiny_file, *};
use crate::{
    context::Context,
    model::{
        ChatModel, ChatRequest, Sampling, collect,
        local::{LocalConfig, LocalModel},
    },
    monitor::{Event, EventKind, FnSink},
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
    let (taken, _) = a.resident.get().unwrap();
    assert_eq!(ask(&b).await.unwrap_err().kind(), ErrorKind::Overloaded);
    drop(taken);
    ask(&b).await.unwrap();
    let stream = b.chat(&Context::new(), ChatRequest::user("hi")).await.unwrap();
    drop(stream.collect::<Vec<_>>().await);
    until(|| statistics(&b).running == 0).await;
    ask(&a).await.unwrap();
    assert!(statistics(&a).loaded && !statistics(&b).loaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_loads_for_all_that_come_with_it() {
    let folder = folder();
    let (config, budget) = (LocalConfig::default(), MemoryBudget::default());
    let path = folder.path().join("tiny.gguf");
    let expected = ask(&open(folder.path(), "eager", &config, &budget).unwrap()).await.unwrap();
    let model = LocalModel::open_within("lazy", &path, &config, &budget).unwrap();
    assert_eq!(statistics(&model), LocalStatistics::default());
    assert!(model.count_tokens(&ChatRequest::user("hi")).unwrap() > 0 && !statistics(&model).loaded);
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let resident = Arc::clone(&model.resident);
            std::thread::spawn(move || resident.get().unwrap())
        })
        .collect();
    let got: Vec<_> = asked.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(got.iter().filter(|(_, took)| took.is_some()).count(), 1);
    assert!(got.iter().all(|(scheduler, _)| Arc::ptr_eq(scheduler, &got[0].0)));
    assert_eq!(ask(&model).await.unwrap(), expected);
}

/// One whose loading fails once a message came for it; counts how often it was tried.
fn failing() -> (Arc<Resident>, mpsc::Sender<()>, Arc<AtomicUsize>) {
    let (go, wait) = mpsc::channel();
    let (wait, tries) = (Mutex::new(wait), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&tries);
    let load = move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        lock(&wait).recv().unwrap();
        Err(Error::invalid("the disk is broken").with("sector", 7))
    };
    (Resident::new(None, 1, Box::new(load), None, MemoryBudget::default()), go, tries)
}

#[test]
fn those_that_wait_for_a_load_take_no_thread_and_share_what_comes_of_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build().unwrap();
    runtime.block_on(async {
        let (resident, go, tries) = failing();
        let all = futures_util::future::join_all((0..20).map(|_| resident.wait(|_| ())));
        let meanwhile = async {
            until(|| tries.load(Ordering::SeqCst) == 1).await;
            assert_eq!(blocking(|| Ok(5)).await.unwrap(), 5, "another thread is free");
            (0..20).for_each(|_| go.send(()).unwrap());
        };
        let (all, ()) = tokio::join!(all, meanwhile);
        assert_eq!(tries.load(Ordering::SeqCst), 1);
        for error in all.into_iter().map(Result::unwrap_err) {
            assert_eq!((error.kind(), error.message()), (ErrorKind::Invalid, "the disk is broken"));
            assert_eq!(error.facts()["sector"], "7");
        }
        // Whoever comes later tries again.
        assert!(resident.wait(|_| ()).await.is_err());
        assert!(resident.get().is_err());
        assert_eq!(tries.load(Ordering::SeqCst), 3);
    });
}

#[tokio::test]
async fn a_load_goes_on_when_who_asked_for_it_is_gone() {
    let (resident, go, tries) = failing();
    {
        let mut gone = std::pin::pin!(resident.wait(|_| ()));
        assert!(futures_util::poll!(&mut gone).is_pending());
        until(|| tries.load(Ordering::SeqCst) == 1).await;
    }
    let other = resident.wait(|_| ());
    let (other, ()) = tokio::join!(other, async { go.send(()).unwrap() });
    assert!(other.is_err());
    assert_eq!(tries.load(Ordering::SeqCst), 1, "it was the same load");
}

#[test]
fn two_that_are_loaded_at_once_do_not_find_the_same_room() {
    let folder = folder();
    let config = LocalConfig::default();
    let size = statistics(&open(folder.path(), "a", &config, &MemoryBudget::default()).unwrap()).weight_bytes;
    for _ in 0..8 {
        let budget = MemoryBudget::new(Some(size + size / 2));
        let models: Vec<_> = std::thread::scope(|scope| {
            let opened: Vec<_> =
                (0..4).map(|_| scope.spawn(|| open(folder.path(), "a", &config, &budget).unwrap())).collect();
            opened.into_iter().map(|model| model.join().unwrap()).collect()
        });
        assert_eq!(models.iter().filter(|model| statistics(model).loaded).count(), 1);
    }
}

#[tokio::test]
async fn none_leaves_where_that_is_not_enough() {
    let folder = folder();
    let config = LocalConfig::default();
    let size = statistics(&open(folder.path(), "a", &config, &MemoryBudget::default()).unwrap()).weight_bytes;
    let budget = MemoryBudget::new(Some(4 * size + size / 2));
    let a = open(folder.path(), "a", &config, &budget).unwrap();
    let b = open(folder.path(), "b", &config, &budget).unwrap();
    // Almost four times as large.
    let exact = LocalConfig::default().full_precision();
    let path = folder.path().join("tiny.gguf");
    let c = LocalModel::open_within("c", &path, &exact, &budget).unwrap();
    let taken = a.resident.get().unwrap();
    assert_eq!(ask(&c).await.unwrap_err().kind(), ErrorKind::Overloaded);
    assert!(statistics(&b).loaded);
    drop(taken);
    ask(&c).await.unwrap();
    assert!(!statistics(&a).loaded && !statistics(&b).loaded);
}

#[test]
fn a_budget_is_for_what_weights_take_in_memory() {
    let folder = folder();
    let path = folder.path().join("tiny.gguf");
    let exact = LocalConfig::default().full_precision();
    let load = |budget| LocalModel::load_within("a", &path, &exact, &MemoryBudget::new(Some(budget)));
    let size = statistics(&load(u64::MAX).unwrap()).weight_bytes;
    assert!(size > 2 * std::fs::metadata(&path).unwrap().len(), "more than the file");
    assert_eq!(load(size - 1).map(drop).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(load(size).is_ok());
}

#[tokio::test]
async fn opening_refuses_what_loading_would() {
    let folder = folder();
    let path = folder.path().join("tiny.gguf");
    let refused = |budget| {
        let config = LocalConfig::default();
        let opened = LocalModel::open_within("lazy", &path, &config, &budget).map(drop).unwrap_err();
        let loaded = LocalModel::load_within("lazy", &path, &config, &budget).map(drop).unwrap_err();
        assert_eq!((opened.kind(), opened.message()), (loaded.kind(), loaded.message()));
        opened
    };
    let error = refused(MemoryBudget::new(Some(1000)));
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("memory_budget_bytes"), "{error}");
    let whole = tiny_file();
    std::fs::write(&path, &whole[..whole.len() - 100]).unwrap();
    assert_eq!(refused(MemoryBudget::default()).kind(), ErrorKind::Corrupt);
    // A tensor is missing, and there is one that the architecture has not.
    let at = whole.windows(13).position(|window| window == b"blk.0.ffn_up.").unwrap();
    std::fs::write(&path, [&whole[..at], b"blk.0.ffn_xx.", &whole[at + 13..]].concat()).unwrap();
    assert_eq!(refused(MemoryBudget::default()).kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_model_is_told_of_when_it_is_loaded() {
    let folder = folder();
    let model = LocalModel::open_within(
        "lazy",
        &folder.path().join("tiny.gguf"),
        &LocalConfig::default(),
        &MemoryBudget::default(),
    )
    .unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&told);
    let mut cx = Context::new();
    cx.events = Arc::new(FnSink(move |event: &Event| lock(&events).push(event.kind.clone())));
    assert!(lock(&told).is_empty());
    for _ in 0..2 {
        collect(model.chat(&cx, ChatRequest::user("hi")).await.unwrap()).await.unwrap();
    }
    let loaded = |event: &EventKind| matches!(event, EventKind::ModelLoaded { model, .. } if model == "lazy");
    assert_eq!(lock(&told).iter().filter(|event| loaded(event)).count(), 1);
}
