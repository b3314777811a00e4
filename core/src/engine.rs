//! Engines, and the JSON form by which HTTP, agents, Python and Node call any of them by name; functions of the host.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
};

/// How a part is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Health {
    /// Whether calls can be expected to work.
    pub ok: bool,
    /// What is wrong and what to do, or an empty text.
    pub detail: String,
}

impl Health {
    /// All is well.
    pub fn good() -> Self {
        Self { ok: true, detail: String::new() }
    }

    /// Something is wrong.
    pub fn bad(detail: impl Into<String>) -> Self {
        Self { ok: false, detail: detail.into() }
    }
}

/// A part of triune, or of the user, that answers typed requests under a name.
///
/// # Contract
/// - `name` never changes and is unique in a [`Triune`](crate::Triune).
/// - Dropping the future of `call` stops the work; so does cancelling the context.
/// - `health` is quick (under a second) and has no side effect.
#[async_trait]
pub trait Engine: Send + Sync + fmt::Debug + 'static {
    /// What it is asked.
    type Request: DeserializeOwned + Send + 'static;
    /// What it answers.
    type Reply: Serialize + Send + 'static;
    /// The name it is called by.
    fn name(&self) -> &str;
    /// Answers `request`.
    async fn call(&self, cx: &Context, request: Self::Request) -> Result<Self::Reply>;
    /// How it is.
    async fn health(&self, _cx: &Context) -> Health {
        Health::good()
    }
}

/// The JSON form of an [`Engine`]. Every engine is one; authors never write it.
#[async_trait]
pub trait DynEngine: Send + Sync + fmt::Debug + 'static {
    /// See [`Engine::name`].
    fn dyn_name(&self) -> &str;
    /// See [`Engine::call`]. `Invalid` when `request` does not have the form of the engine's request.
    async fn call_json(&self, cx: &Context, request: Value) -> Result<Value>;
    /// See [`Engine::health`].
    async fn dyn_health(&self, cx: &Context) -> Health;
}

#[async_trait]
impl<E: Engine> DynEngine for E {
    fn dyn_name(&self) -> &str {
        self.name()
    }

    async fn call_json(&self, cx: &Context, request: Value) -> Result<Value> {
        let request = parse(self.name(), request)?;
        let reply = self.call(cx, request).await?;
        serde_json::to_value(reply)
            .map_err(|e| Error::unexpected("a reply has no JSON form").during("Engine::call_json").caused_by(e))
    }

    async fn dyn_health(&self, cx: &Context) -> Health {
        self.health(cx).await
    }
}

fn parse<T: DeserializeOwned>(engine: &str, request: Value) -> Result<T> {
    serde_json::from_value(request).map_err(|e| {
        Error::invalid(format!("the request does not fit engine \"{engine}\": {e}")).during("Engine::call_json")
    })
}

/// What a function is called, what it does and what it takes: the form in which models are told about tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionSpec {
    /// Its name: letters, digits, `_`, `-` and `.`, at most 64.
    pub name: String,
    /// What it does, for a model or a person.
    #[serde(default)]
    pub description: String,
    /// JSON schema of its input.
    #[serde(default = "any_object")]
    pub parameters: Value,
}

fn any_object() -> Value {
    serde_json::json!({ "type": "object" })
}

impl FunctionSpec {
    /// A function that takes any object.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), description: String::new(), parameters: any_object() }
    }
}

/// A function of the host program: the body of a task, or a tool of an agent. Registered by name, so that a resumed
/// process finds it again.
///
/// # Contract
/// - Dropping the future stops the work.
/// - A function may be called again with the same input after a retry or a crash: what it does must bear repetition,
///   or its task must not be retried.
#[async_trait]
pub trait Function: Send + Sync + fmt::Debug + 'static {
    /// What it is.
    fn spec(&self) -> &FunctionSpec;
    /// Does it.
    async fn call(&self, cx: &Context, input: Value) -> Result<Value>;
}

/// An async closure as a [`Function`].
pub struct FnFunction<F> {
    spec: FunctionSpec,
    run: F,
}

impl<F, R> FnFunction<F>
where
    F: Fn(Context, Value) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Value>> + Send + 'static,
{
    /// Names `run`.
    pub fn new(name: impl Into<String>, run: F) -> Self {
        Self { spec: FunctionSpec::new(name), run }
    }
}

impl<F> fmt::Debug for FnFunction<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnFunction").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl<F, R> Function for FnFunction<F>
where
    F: Fn(Context, Value) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Value>> + Send + 'static,
{
    fn spec(&self) -> &FunctionSpec {
        &self.spec
    }

    async fn call(&self, cx: &Context, input: Value) -> Result<Value> {
        (self.run)(cx.clone(), input).await
    }
}

/// Things by name, shared by every clone; names can be added while calls run.
#[derive(Debug)]
pub struct Registry<T: ?Sized> {
    what: &'static str,
    by_name: Arc<RwLock<BTreeMap<String, Arc<T>>>>,
}

impl<T: ?Sized> Clone for Registry<T> {
    fn clone(&self) -> Self {
        Self { what: self.what, by_name: Arc::clone(&self.by_name) }
    }
}

impl<T: ?Sized> Registry<T> {
    /// An empty registry of `what` (a word for error messages).
    pub fn new(what: &'static str) -> Self {
        Self { what, by_name: Arc::default() }
    }

    /// Adds `item`, or puts it in the place of the one that had the name.
    ///
    /// # Errors
    /// `Invalid` when `name` is not 1 to 64 letters, digits, `_`, `-`, `.`, `:` and `/`.
    pub fn register(&self, name: &str, item: Arc<T>) -> Result<()> {
        Self::check_name(name)?;
        self.by_name.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), item);
        Ok(())
    }

    /// Checks that something could be registered as `name`.
    ///
    /// # Errors
    /// As for [`register`](Self::register).
    pub(crate) fn check_name(name: &str) -> Result<()> {
        let fits = |c: char| c.is_alphanumeric() || "_-.:/".contains(c);
        if name.is_empty() || name.chars().count() > 64 || !name.chars().all(fits) {
            return Err(
                Error::invalid("a name is 1 to 64 letters, digits, `_`, `-`, `.`, `:` or `/`").with("name", name)
            );
        }
        Ok(())
    }

    /// The item called `name`.
    ///
    /// # Errors
    /// `NotFound`, naming what there is.
    pub fn get(&self, name: &str) -> Result<Arc<T>> {
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        by_name.get(name).cloned().ok_or_else(|| {
            let known = by_name.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none is registered".into() } else { format!("there are: {known}") };
            Error::new(ErrorKind::NotFound, format!("no {} is called \"{name}\"; {known}", self.what))
        })
    }

    /// Removes the item called `name`; says whether there was one. Calls that have it already go on.
    pub fn remove(&self, name: &str) -> bool {
        self.by_name.write().unwrap_or_else(PoisonError::into_inner).remove(name).is_some()
    }

    /// Removes everything.
    pub fn clear(&self) {
        self.by_name.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// All items, sorted by name.
    pub fn items(&self) -> Vec<Arc<T>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Wraps a slot: retry, timeout, limit, cache. State lives in the layer, so applying one layer to two slots shares it.
pub trait Layer<S: ?Sized>: Send + Sync + fmt::Debug + 'static {
    /// `inner`, wrapped.
    fn layer(&self, inner: Arc<S>) -> Arc<S>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug)]
    struct Upper;

    #[async_trait]
    impl Engine for Upper {
        type Request = String;
        type Reply = String;
        fn name(&self) -> &'static str {
            "upper"
        }
        async fn call(&self, _: &Context, request: String) -> Result<String> {
            Ok(request.to_uppercase())
        }
    }

    #[tokio::test]
    async fn every_engine_has_a_json_form() {
        let engine: Arc<dyn DynEngine> = Arc::new(Upper);
        let cx = Context::new();
        assert_eq!(engine.call_json(&cx, json!("ada")).await.unwrap(), json!("ADA"));
        let error = engine.call_json(&cx, json!({"text": 1})).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("upper"));
    }

    #[test]
    fn an_unknown_name_is_told_what_there_is() {
        let engines: Registry<dyn DynEngine> = Registry::new("engine");
        engines.register("upper", Arc::new(Upper)).unwrap();
        let error = engines.get("uper").unwrap_err();
        assert_eq!(error.message(), "no engine is called \"uper\"; there are: upper");
        assert!(engines.register("a b", Arc::new(Upper)).is_err());
        assert!(engines.remove("upper") && !engines.remove("upper"));
        assert!(engines.get("upper").unwrap_err().message().contains("none is registered"));
    }
}
