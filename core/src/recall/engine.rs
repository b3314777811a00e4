//! The engine `recall`.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;
use tokio::sync::OnceCell;
use tracing::instrument;

use super::{
    Duplicates, ForgetRequest, Hit, Item, ItemVersion, Moment, Neighbour, NeighboursRequest, RecallConfig,
    RecallContext, RecallQuery, RecallReply, RecallRequest, RelateRequest, Relation, StoreRequest,
    admission::Admission,
    expiry, forget, graph, history, index, migrate,
    namespace::{self, Namespace, check_name, plain, scoped},
    pack, prepare,
    question::Question,
    rerank,
    search::{self, Lookup},
    vector,
};
use crate::{
    context::Context,
    engine::{Engine, Health},
    error::{Error, ErrorKind, Result},
    model::Embedder,
    monitor::EventKind,
    router::RouterEngine,
    runtime::{Runtime, blocking},
    store::{Job, Read, Store},
};

/// Hits, or neighbours, at most.
const MAX_TOP: usize = 1_000;
/// Bytes of a query at most.
const MAX_QUERY: usize = 64 << 10;

/// The engine `recall`: stores knowledge and finds it again. Cheap to clone.
///
/// Each tenant ([`Context::tenant`]) has namespaces of its own: nothing of them, neither texts nor words, relations, counts
/// or names, is seen by another, nor by calls without a tenant, which have theirs.
#[derive(Clone, Debug)]
pub struct RecallEngine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: RecallConfig,
    store: Store,
    router: RouterEngine,
    runtime: Runtime,
    /// Namespaces whose index this process is building.
    building: Mutex<HashSet<String>>,
    /// Namespaces whose index a query found to be due.
    found_due: Mutex<HashSet<String>>,
    /// Set once the folder has the form of this version.
    migrated: OnceCell<()>,
    /// Whether what is over is being forgotten.
    sweeping: AtomicBool,
}

impl RecallEngine {
    /// A memory in `store` that embeds by `router`'s embedder.
    ///
    /// # Errors
    /// `Invalid` when the configuration is out of range.
    pub fn new(config: RecallConfig, store: Store, router: RouterEngine, runtime: Runtime) -> Result<Self> {
        config.validate()?;
        Ok(Self(Arc::new(Inner {
            config,
            store,
            router,
            runtime,
            building: Mutex::default(),
            found_due: Mutex::default(),
            migrated: OnceCell::new(),
            sweeping: AtomicBool::new(false),
        })))
    }

    /// Keeps knowledge; gives its id. Returns when it is on disk, or staged when the context has a unit of work.
    ///
    /// Without an embedder, and without a vector given, it is found by its words alone.
    ///
    /// # Errors
    /// `Invalid` for an empty text or a vector without direction or of a wrong length, `Conflict` when the namespace
    /// was embedded by another embedder, `Overloaded` when it would hold more than its quota.
    pub async fn store(&self, cx: &Context, request: StoreRequest) -> Result<String> {
        let ids = self.store_many(cx, vec![request]).await?;
        ids.into_iter().next().ok_or_else(|| Error::unexpected("an item was stored without an id"))
    }

    /// Keeps much knowledge in one transaction: all of it or nothing. Gives the ids, in order.
    ///
    /// # Errors
    /// As [`RecallEngine::store`]; `Invalid` for more than 10,000 items.
    #[instrument(name = "recall.store", skip_all, fields(items = items.len()))]
    pub async fn store_many(&self, cx: &Context, mut items: Vec<StoreRequest>) -> Result<Vec<String>> {
        prepare::check(&items)?;
        for item in &mut items {
            item.namespace = scoped(cx, &item.namespace)?;
        }
        if items.is_empty() {
            return Ok(Vec::new());
        }
        if cx.unit.is_some() && items.iter().any(|item| item.duplicates == Duplicates::Merge) {
            let message =
                "in a task the id of a merged item is known only once it has ended; use `duplicates` = `keep`";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        self.ready().await?;
        let embedder = self.0.router.embedder().ok();
        if let Some(embedder) = &embedder {
            for item in items.iter().filter(|item| item.vector.is_none()) {
                self.check_embedder(&item.namespace, embedder.as_ref())?;
            }
        }
        let prepared = Arc::new(prepare::prepare(cx, &self.0.config, embedder, items).await?);
        cx.check()?;
        let ids: Vec<String> = prepared.iter().map(|(_, item)| item.record.id.clone()).collect();
        let stored = Arc::new(Mutex::new(ids));
        let (rows, under, inner) = (Arc::clone(&prepared), Arc::clone(&stored), Arc::clone(&self.0));
        let job: Job = Box::new(move |write| {
            let ids = prepare::put_all(write, &inner.config, &rows)?;
            *under.lock().unwrap_or_else(PoisonError::into_inner) = ids;
            Ok(())
        });
        self.0.store.commit_with(cx.unit.as_ref(), false, job).await?;
        // With a unit of work the job runs later: then these are the ids that were asked for.
        let ids = std::mem::take(&mut *stored.lock().unwrap_or_else(PoisonError::into_inner));
        let mut grown: Vec<&str> = Vec::new();
        for ((namespace, item), id) in prepared.iter().zip(&ids) {
            cx.emit(EventKind::Stored { namespace: plain(namespace).to_owned(), id: id.clone() });
            if item.embedder.is_some() && !grown.contains(&namespace.as_str()) {
                grown.push(namespace);
            }
        }
        for namespace in grown {
            self.index_if_due(namespace);
        }
        self.sweep_if_due();
        Ok(ids)
    }

    /// The items that answer the query best, best first. An unknown namespace has none.
    ///
    /// Without an embedder, and without a vector given, it looks for words alone.
    ///
    /// # Errors
    /// `Invalid` for an empty query, `top` out of range or a filter that cannot be evaluated; `Conflict` when the
    /// namespace was embedded by another embedder; `NotFound` when it is to be reranked and there is no reranker.
    #[instrument(name = "recall.query", skip_all, fields(namespace = query.namespace, top = query.top))]
    pub async fn query(&self, cx: &Context, mut query: RecallQuery) -> Result<Vec<Hit>> {
        let began = Instant::now();
        check_query(&query)?;
        query.namespace = scoped(cx, &query.namespace)?;
        cx.check()?;
        let reranker = if query.rerank > 0 { Some(self.0.router.reranker()?) } else { None };
        let admission = Admission::of(&query)?;
        self.ready().await?;
        let (question, known) = self.question(&query, admission.now)?;
        let vector = self.query_vector(cx, &query, &question, known).await?;
        let RecallQuery { query: text, top, namespace: name, rerank, diversity, half_life_ms, .. } = query;
        let (inner, call, namespace) = (Arc::clone(&self.0), cx.clone(), name.clone());
        let hits = blocking(move || {
            let top = top.max(rerank);
            let lookup = Lookup { question, vector, admission, top, diversity, half_life_ms };
            inner.store.read(|read| match namespace::find(read, &name)? {
                Some(known) => {
                    if let Some(vector) = &lookup.vector {
                        known.fits(vector.len())?;
                    }
                    let due = index::is_due(&inner.config, &known);
                    Ok((search::search(&call, &inner.config, read, (&name, &known), &lookup)?, due))
                }
                None => Ok((Vec::new(), false)),
            })
        });
        let (mut hits, due) = cx.run(hits).await?;
        if due {
            self.index_once(&namespace);
        }
        if let Some(reranker) = reranker {
            hits = rerank::rerank(cx, reranker.as_ref(), &text, hits).await?;
            hits.truncate(top);
        }
        self.sweep_if_due();
        let latency_ms = began.elapsed().as_millis() as u64;
        cx.emit(EventKind::Recalled { namespace: plain(&namespace).to_owned(), hits: hits.len(), latency_ms });
        Ok(hits)
    }

    /// The best passages for a prompt, of `token_budget` tokens at most, about.
    ///
    /// # Errors
    /// As [`RecallEngine::query`]; `Invalid` for a budget of 0.
    pub async fn context(&self, cx: &Context, query: RecallQuery, token_budget: usize) -> Result<RecallContext> {
        if token_budget == 0 {
            return Err(Error::invalid(
                "a `token_budget` of 0 has room for nothing; give the tokens the prompt may have",
            ));
        }
        Ok(pack::pack(self.query(cx, query).await?, token_budget))
    }

    /// A question, taken apart as its namespace has it, and that namespace.
    fn question(&self, query: &RecallQuery, now: Moment) -> Result<(Question, Option<Namespace>)> {
        self.0.store.read(|read| match namespace::find(read, &query.namespace)? {
            Some(known) => Ok((Question::to(read, &known, &query.query, now)?, Some(known))),
            None => Ok((Question::new(&query.query, now), None)),
        })
    }

    /// The vector to search by; none to search by words alone.
    async fn query_vector(
        &self,
        cx: &Context,
        query: &RecallQuery,
        question: &Question,
        known: Option<Namespace>,
    ) -> Result<Option<Vec<f32>>> {
        if let Some(given) = &query.vector {
            return vector::unit(given).map(Some);
        }
        let Some(known) = known.filter(|namespace| namespace.vectors > 0) else { return Ok(None) };
        let Ok(embedder) = self.0.router.embedder() else { return Ok(None) };
        known.takes(embedder.profile())?;
        if known.embedder.as_ref() != Some(&embedder.profile().id) {
            // It is being embedded anew: until that is done it is found by words.
            return Ok(None);
        }
        let made = cx.run(embedder.embed_queries(cx, vec![question.text.clone()])).await?;
        let made = prepare::kept(embedder.as_ref(), 1, made)?;
        made.first().map(|made| vector::unit(&made.vector)).transpose()
    }

    /// Reads one item; none when there is none.
    ///
    /// # Errors
    /// `Invalid` for a name that cannot be.
    pub async fn get(&self, cx: &Context, namespace: &str, id: &str) -> Result<Option<Item>> {
        check_name("id", id)?;
        let (inner, name, id) = (Arc::clone(&self.0), scoped(cx, namespace)?, id.to_owned());
        let get = move |read: &Read<'_>| {
            let Some(known) = namespace::find(read, &name)? else { return Ok(None) };
            let record = history::current(read, &known, &id)?;
            let live = record.filter(|record| !expiry::is_over(record, Moment::now()));
            Ok(live.map(|record| record.into_item(&name)))
        };
        cx.run(blocking(move || inner.store.read(get))).await
    }

    /// All versions of an item, and of what it says anew or is said anew by, the oldest first; none of an unknown id.
    ///
    /// # Errors
    /// `Invalid` for a name that cannot be.
    pub async fn history(&self, cx: &Context, namespace: &str, id: &str) -> Result<Vec<ItemVersion>> {
        check_name("id", id)?;
        let (inner, name, id) = (Arc::clone(&self.0), scoped(cx, namespace)?, id.to_owned());
        cx.run(blocking(move || inner.store.read(|read| history::history(read, &name, &id)))).await
    }

    /// Forgets items, and the relations they are an end of; with `all` the whole namespace. Says how many items there
    /// were.
    ///
    /// # Errors
    /// `Invalid` when the request names nothing to forget.
    #[instrument(name = "recall.forget", skip_all, fields(namespace = request.namespace))]
    pub async fn forget(&self, cx: &Context, mut request: ForgetRequest) -> Result<usize> {
        forget::check(&request)?;
        request.namespace = scoped(cx, &request.namespace)?;
        cx.check()?;
        self.ready().await?;
        let namespace = request.namespace.clone();
        let count = forget::forget(cx, &self.0.store, request).await?;
        cx.emit(EventKind::Forgotten { namespace: plain(&namespace).to_owned(), count });
        self.index_if_due(&namespace);
        Ok(count)
    }

    /// Keeps a relation; a known one gets the new weight. Says whether it is new.
    ///
    /// # Errors
    /// `Invalid` for names that cannot be or a weight that is not above 0.
    pub async fn relate(&self, cx: &Context, request: RelateRequest) -> Result<bool> {
        let RelateRequest { namespace, from, kind, to, weight } = request;
        let namespace = scoped(cx, &namespace)?;
        let relation = Relation { from, kind, to, weight };
        let new = graph::upsert(cx, &self.0.store, &namespace, vec![relation]).await?;
        Ok(new == 1)
    }

    /// What is near a name or an item, nearest first.
    ///
    /// # Errors
    /// `Invalid` for `hops` or `top` out of range.
    pub async fn neighbours(&self, cx: &Context, request: NeighboursRequest) -> Result<Vec<Neighbour>> {
        let NeighboursRequest { namespace, of, kind, hops, top } = request;
        let namespace = scoped(cx, &namespace)?;
        graph::neighbours(cx, &self.0.store, namespace, of, kind, (hops, top)).await
    }

    /// A shortest way between two names, of at most `hops` steps, 1 to 5; none when there is none.
    ///
    /// # Errors
    /// `Invalid` for names that cannot be or `hops` out of range.
    pub async fn path(
        &self,
        cx: &Context,
        namespace: &str,
        (from, to): (&str, &str),
        hops: u8,
    ) -> Result<Option<Vec<Relation>>> {
        graph::path(cx, &self.0.store, scoped(cx, namespace)?, (from.to_owned(), to.to_owned()), hops).await
    }

    /// The `top` names nearest to `seeds` by personalised PageRank, with their rank; the ranks of all names sum to 1.
    ///
    /// # Errors
    /// `Invalid` without seeds or for `top` out of range.
    pub async fn rank(
        &self,
        cx: &Context,
        namespace: &str,
        seeds: Vec<String>,
        top: usize,
    ) -> Result<Vec<(String, f64)>> {
        graph::rank(cx, &self.0.store, scoped(cx, namespace)?, seeds, top).await
    }

    /// The relations among a name and what is near it, the strongest first.
    ///
    /// # Errors
    /// As [`RecallEngine::neighbours`].
    pub async fn subgraph(&self, cx: &Context, request: NeighboursRequest) -> Result<Vec<Relation>> {
        let NeighboursRequest { namespace, of, kind, hops, top } = request;
        graph::subgraph(cx, &self.0.store, scoped(cx, &namespace)?, of, kind, (hops, top)).await
    }

    /// The names of the namespaces of the caller's tenant, sorted.
    ///
    /// # Errors
    /// `Invalid` for the name of a tenant that cannot be.
    pub async fn namespaces(&self, cx: &Context) -> Result<Vec<String>> {
        let (inner, tenant) = (Arc::clone(&self.0), namespace::check_tenant(cx)?.to_owned());
        cx.run(blocking(move || inner.store.read(|read| namespace::names(read, &tenant)))).await
    }

    pub(super) fn config(&self) -> &RecallConfig {
        &self.0.config
    }

    pub(super) fn store_of(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn router(&self) -> &RouterEngine {
        &self.0.router
    }

    /// Refuses a namespace whose vectors do not fit those of the embedder there is, before anything is paid for it.
    ///
    /// # Errors
    /// `Conflict` when the namespace was embedded by another embedder.
    pub(crate) fn check_namespace(&self, cx: &Context, name: &str) -> Result<()> {
        let name = scoped(cx, name)?;
        self.0.router.embedder().map_or(Ok(()), |embedder| self.check_embedder(&name, embedder.as_ref()))
    }

    /// Refuses to embed for a namespace that another embedder made, before anything is paid for it.
    fn check_embedder(&self, name: &str, embedder: &dyn Embedder) -> Result<()> {
        let known = self.0.store.read(|read| namespace::find(read, name))?;
        known.map_or(Ok(()), |namespace| namespace.takes(embedder.profile()))
    }

    /// Waits until the folder has the form of this version.
    pub(super) async fn ready(&self) -> Result<()> {
        self.0.migrated.get_or_try_init(|| migrate::migrate(&self.0.store)).await.copied()
    }

    /// Forgets in the background what is over.
    fn sweep_if_due(&self) {
        let inner = &self.0;
        let due = inner.store.read(|read| expiry::is_due(read, Moment::now())).unwrap_or_default();
        if !due || inner.sweeping.swap(true, Ordering::AcqRel) {
            return;
        }
        let inner = Arc::clone(inner);
        self.0.runtime.spawn(async move {
            while !inner.runtime.closing().is_cancelled() {
                match inner.store.write(|write| expiry::sweep(write, Moment::now())).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::warn!(%error, "what is over was not forgotten");
                        break;
                    }
                }
            }
            inner.sweeping.store(false, Ordering::Release);
        });
    }

    /// As [`Self::index_if_due`] for what is only asked, and else would never be indexed; once a process, so that one that
    /// cannot be built is not tried at every query.
    fn index_once(&self, name: &str) {
        let new = self.0.found_due.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        if new {
            self.index_if_due(name);
        }
    }

    /// Builds the index of the namespace in the background when enough waits for it. What was committed before does
    /// not fail with it: a search works without the index, only slower, and the next store tries again.
    pub(super) fn index_if_due(&self, name: &str) {
        let inner = &self.0;
        let due = inner.store.read(|read| match namespace::find(read, name)? {
            Some(namespace) => Ok(index::is_due(&inner.config, &namespace)),
            None => Ok(false),
        });
        let due = due.unwrap_or_else(|error| {
            tracing::warn!(%error, "whether the vector index is due is not known");
            false
        });
        let mut building = inner.building.lock().unwrap_or_else(PoisonError::into_inner);
        if !due || !building.insert(name.to_owned()) {
            return;
        }
        drop(building);
        let guard = Building { inner: Arc::clone(inner), name: name.to_owned() };
        inner.runtime.spawn(async move {
            let (inner, name) = (&guard.inner, &guard.name);
            if let Err(error) = index::do_what_is_due(&inner.config, &inner.store, inner.runtime.closing(), name).await
            {
                tracing::warn!(%error, "the vector index was not built");
            }
        });
    }
}

/// Notes, when dropped, that the index of a namespace is built or was given up.
struct Building {
    inner: Arc<Inner>,
    name: String,
}

impl Drop for Building {
    fn drop(&mut self) {
        self.inner.building.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// Checks how many are wanted.
pub(super) fn check_top(top: usize) -> Result<()> {
    if !(1..=MAX_TOP).contains(&top) {
        return Err(Error::invalid(format!("`top` is 1 to {MAX_TOP}")).with("top", top));
    }
    Ok(())
}

fn check_query(query: &RecallQuery) -> Result<()> {
    check_name("namespace", &query.namespace)?;
    check_top(query.top)?;
    if query.rerank > MAX_TOP {
        return Err(Error::invalid(format!("`rerank` is 0 to {MAX_TOP}")).with("rerank", query.rerank));
    }
    if query.rerank > 0 && query.query.trim().is_empty() {
        return Err(Error::invalid("a reranker reads the query; say what you look for, or leave `rerank` out"));
    }
    if query.query.trim().is_empty() && query.vector.is_none() {
        return Err(Error::invalid("the query is empty; say what you look for, or give a vector"));
    }
    if !(0.0..=1.0).contains(&query.diversity) {
        return Err(Error::invalid("`diversity` is 0 to 1").with("diversity", query.diversity));
    }
    if query.half_life_ms == Some(0) {
        return Err(Error::invalid("a half-life of 0 has no time to pass; leave it out for no decay"));
    }
    if query.query.len() > MAX_QUERY {
        return Err(Error::invalid(format!("a query has at most {MAX_QUERY} bytes; ask a shorter question"))
            .with("bytes", query.query.len()));
    }
    query.filter.as_ref().map_or(Ok(()), super::Filter::validate)
}

#[async_trait]
impl Engine for RecallEngine {
    type Request = RecallRequest;
    type Reply = RecallReply;

    fn name(&self) -> &'static str {
        "recall"
    }

    async fn call(&self, cx: &Context, request: RecallRequest) -> Result<RecallReply> {
        Ok(match request {
            RecallRequest::Store(item) => RecallReply::Id { id: self.store(cx, *item).await? },
            RecallRequest::StoreMany { items } => RecallReply::Ids { ids: self.store_many(cx, items).await? },
            RecallRequest::Query(query) => RecallReply::Hits { hits: self.query(cx, query).await? },
            RecallRequest::Get { namespace, id } => {
                RecallReply::Item { item: self.get(cx, &namespace, &id).await?.map(Box::new) }
            }
            RecallRequest::History { namespace, id } => {
                RecallReply::Versions { versions: self.history(cx, &namespace, &id).await? }
            }
            RecallRequest::Context { query, token_budget } => {
                RecallReply::Context(self.context(cx, query, token_budget).await?)
            }
            RecallRequest::Forget(request) => RecallReply::Forgotten { forgotten: self.forget(cx, request).await? },
            RecallRequest::Relate(request) => RecallReply::Related { new: self.relate(cx, request).await? },
            RecallRequest::Neighbours(request) => {
                RecallReply::Neighbours { neighbours: self.neighbours(cx, request).await? }
            }
            RecallRequest::Path { namespace, from, to, hops } => {
                RecallReply::Path { path: self.path(cx, &namespace, (&from, &to), hops).await? }
            }
            RecallRequest::Rank { namespace, seeds, top } => {
                RecallReply::Ranked { ranked: self.rank(cx, &namespace, seeds, top).await? }
            }
            RecallRequest::Subgraph(request) => RecallReply::Relations { relations: self.subgraph(cx, request).await? },
            RecallRequest::Reembed { namespace } => {
                RecallReply::Reembedded { reembedded: self.reembed(cx, &namespace).await? }
            }
            RecallRequest::Statistics { namespace } => {
                RecallReply::Statistics { statistics: Box::new(self.statistics(cx, &namespace).await?) }
            }
            RecallRequest::Namespaces {} => RecallReply::Namespaces { namespaces: self.namespaces(cx).await? },
        })
    }

    async fn health(&self, _cx: &Context) -> Health {
        if let Err(error) = self.0.store.read(|read| namespace::names(read, "")) {
            return Health::bad(error.to_string());
        }
        match self.0.router.embedder() {
            Ok(_) => Health::good(),
            Err(error) => Health { ok: true, detail: format!("recall goes by words alone: {}", error.message()) },
        }
    }
}
