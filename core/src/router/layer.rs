//! Layers around a chat model: try again, and give up in time.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use super::backoff::Backoff;
use crate::{
    context::Context,
    engine::Layer,
    error::{Error, ErrorKind, Result},
    model::{ChatModel, ChatRequest, ChatStream, Delta, LocalStatistics, ModelProfile},
};

/// The longest wait that a provider may ask for: whoever wants to wait longer calls again.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Calls again after an error that may go away, as long as nothing of the answer came yet. Waits with jitter, and at
/// least as long as the provider asks, up to a minute: after an error that asks for more it gives up. The last error is
/// marked as not retryable.
///
/// The right order is retry outside, timeout inside, so that each try has the whole time:
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use triune::{Layer, model::ChatModel, router::{RetryLayer, TimeoutLayer}};
/// fn patient(model: Arc<dyn ChatModel>) -> Arc<dyn ChatModel> {
///     let model = TimeoutLayer::new(Duration::from_secs(20)).layer(model); // each try: 20 seconds
///     RetryLayer::new(3, Duration::from_millis(250)).layer(model)
/// }
/// ```
///
/// The other way round, a first try that hangs uses up the time of all three. The router retries by itself: give it
/// plain models.
#[derive(Clone, Copy, Debug)]
pub struct RetryLayer {
    attempts: u32,
    first_wait: Duration,
}

impl RetryLayer {
    /// `attempts` tries in all, at least one, and about `first_wait` before the second.
    pub fn new(attempts: u32, first_wait: Duration) -> Self {
        Self { attempts: attempts.max(1), first_wait }
    }
}

impl Layer<dyn ChatModel> for RetryLayer {
    fn layer(&self, inner: Arc<dyn ChatModel>) -> Arc<dyn ChatModel> {
        Arc::new(Retried { layer: *self, inner })
    }
}

#[derive(Debug)]
struct Retried {
    layer: RetryLayer,
    inner: Arc<dyn ChatModel>,
}

#[async_trait]
impl ChatModel for Retried {
    fn profile(&self) -> &ModelProfile {
        self.inner.profile()
    }

    async fn chat(&self, cx: &Context, request: ChatRequest) -> Result<ChatStream> {
        let mut backoff = Backoff::new(self.layer.first_wait);
        for _ in 1..self.layer.attempts {
            match begun(self.inner.chat(cx, request.clone()).await).await {
                Err(error) if error.is_retryable() && cx.check().is_ok() => {
                    let wait = backoff.after(&error);
                    if wait > self.layer.first_wait.max(LONGEST_WAIT) {
                        return Err(error);
                    }
                    cx.sleep(wait).await?;
                }
                result => return result,
            }
        }
        begun(self.inner.chat(cx, request).await).await.map_err(|error| error.retryable(false))
    }

    fn count_tokens(&self, request: &ChatRequest) -> Result<u64> {
        self.inner.count_tokens(request)
    }

    fn most_tokens(&self, request: &ChatRequest) -> Result<u64> {
        self.inner.most_tokens(request)
    }

    fn local_statistics(&self) -> Option<LocalStatistics> {
        self.inner.local_statistics()
    }
}

/// Waits for the first piece of an answer that is given out, so that a failure before it is one of the call.
async fn begun(called: Result<ChatStream>) -> Result<ChatStream> {
    let mut rest = called?;
    let (mut hidden, mut told, mut paid_by) = (0, None, None);
    loop {
        match rest.next().await {
            Some(Ok(Delta::Progress { bytes })) => hidden += bytes,
            Some(Ok(Delta::Usage { usage, whole })) => told = Some(Delta::Usage { usage, whole }),
            Some(Ok(Delta::PaidBy { key })) => paid_by = Some(Delta::PaidBy { key }),
            Some(Ok(first)) => {
                let progress = (hidden > 0).then_some(Delta::Progress { bytes: hidden });
                let before = paid_by.into_iter().chain(progress).chain(told).chain([first]).map(Ok);
                return Ok(stream::iter(before).chain(rest).boxed());
            }
            Some(Err(error)) => return Err(error),
            None => return Err(Error::new(ErrorKind::Unavailable, "the answer ended before it began")),
        }
    }
}

/// Ends a call that takes longer than a time limit, the stream of its answer included. See [`RetryLayer`] for the
/// order of layers.
#[derive(Clone, Copy, Debug)]
pub struct TimeoutLayer(Duration);

impl TimeoutLayer {
    /// At most `limit` a call.
    pub fn new(limit: Duration) -> Self {
        Self(limit)
    }
}

impl Layer<dyn ChatModel> for TimeoutLayer {
    fn layer(&self, inner: Arc<dyn ChatModel>) -> Arc<dyn ChatModel> {
        Arc::new(Limited { limit: self.0, inner })
    }
}

struct Limited {
    limit: Duration,
    inner: Arc<dyn ChatModel>,
}

impl fmt::Debug for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limited").field("limit", &self.limit).field("inner", &self.inner).finish()
    }
}

#[async_trait]
impl ChatModel for Limited {
    fn profile(&self) -> &ModelProfile {
        self.inner.profile()
    }

    async fn chat(&self, cx: &Context, request: ChatRequest) -> Result<ChatStream> {
        let cx = cx.child().within(self.limit);
        let answer = cx.run(self.inner.chat(&cx, request)).await?;
        let limited = stream::unfold(Some((cx, answer)), |state| async {
            let (cx, mut answer) = state?;
            match cx.run(async { Ok(answer.next().await) }).await {
                Ok(delta) => delta.map(|delta| (delta, Some((cx, answer)))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(limited.boxed())
    }

    fn count_tokens(&self, request: &ChatRequest) -> Result<u64> {
        self.inner.count_tokens(request)
    }

    fn most_tokens(&self, request: &ChatRequest) -> Result<u64> {
        self.inner.most_tokens(request)
    }

    fn local_statistics(&self) -> Option<LocalStatistics> {
        self.inner.local_statistics()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testkit::Scripted, *};
    use crate::model::collect;

    fn unavailable() -> Error {
        Error::new(ErrorKind::Unavailable, "down")
    }

    #[tokio::test(start_paused = true)]
    async fn tries_again_until_it_works() {
        let model = Arc::new(Scripted::local("m").fails(unavailable).fails_at_once(unavailable).says(&["hi"]));
        let retried = RetryLayer::new(3, Duration::from_millis(100)).layer(model.clone());
        let answer = retried.chat(&Context::new(), ChatRequest::user("hello")).await.unwrap();
        assert_eq!(collect(answer).await.unwrap().text, "hi");
        assert_eq!(model.calls(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_after_the_last_try_and_says_so() {
        let model = Arc::new(Scripted::local("m").fails(unavailable).fails(unavailable).says(&["never"]));
        let retried = RetryLayer::new(2, Duration::from_millis(100)).layer(model);
        let error = retried.chat(&Context::new(), ChatRequest::user("hello")).await.err().unwrap();
        assert!(!error.is_retryable() && error.kind() == ErrorKind::Unavailable);
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_asks_for_a_day_is_not_waited_for() {
        let busy = || Error::new(ErrorKind::RateLimited, "slow").with("retry_after_ms", 86_400_000);
        let model = Arc::new(Scripted::local("m").fails_at_once(busy).says(&["hi"]));
        let retried = RetryLayer::new(3, Duration::from_millis(100)).layer(model.clone());
        let error = retried.chat(&Context::new(), ChatRequest::user("hello")).await.err().unwrap();
        assert!(error.is_retryable() && model.calls() == 1, "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_given_out_is_no_beginning() {
        let hidden = |model: Scripted| model.tells(vec![Delta::Progress { bytes: 3 }], unavailable);
        let model = Arc::new(hidden(hidden(Scripted::local("m"))).says(&["hi"]));
        let retried = RetryLayer::new(3, Duration::from_millis(100)).layer(model);
        let answer = retried.chat(&Context::new(), ChatRequest::user("hello")).await.unwrap();
        assert_eq!(collect(answer).await.unwrap().text, "hi");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_model_is_given_up_in_time() {
        let limited = TimeoutLayer::new(Duration::from_secs(5)).layer(Arc::new(Scripted::local("m").hangs()));
        let answer = limited.chat(&Context::new(), ChatRequest::user("hello")).await.unwrap();
        assert_eq!(collect(answer).await.unwrap_err().kind(), ErrorKind::Timeout);
    }
}
