//! One provider's HTTP API: address, key, limits, and errors in our words.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures_util::StreamExt;
use reqwest::{
    Response, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use serde_json::Value;

use super::{
    failure::{self, Refusal},
    keys::Keys,
    retry_after::retry_after_ms,
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{ModelConfig, ModelProfile},
};

/// Time to reach a server, where nobody says.
const CONNECT: Duration = Duration::from_secs(5);
/// Time between two pieces of an answer, or to one that comes as a whole: images, and models that think first, say nothing
/// for minutes. The router limits the call as a whole.
const IDLE: Duration = Duration::from_mins(10);
/// Keys that one call tries.
const MOST_KEYS: usize = 16;
/// Bytes of an error that are read.
const ERROR_BODY: usize = 64 << 10;
/// Bytes of an answer that is not streamed; ten large images fit.
const WHOLE_BODY: usize = 128 << 20;

/// What a client is built from.
pub(super) struct Access<'a> {
    pub(super) base_url: Option<&'a str>,
    pub(super) api_key: Option<&'a str>,
    pub(super) api_key_env: Option<&'a str>,
    pub(super) more_keys: &'a [String],
    pub(super) connect: Option<Duration>,
}

impl<'a> Access<'a> {
    /// What `config` says.
    pub(super) fn of(config: &'a ModelConfig) -> Self {
        Self {
            base_url: config.base_url.as_deref(),
            api_key: config.api_key.as_deref(),
            api_key_env: config.api_key_env.as_deref(),
            more_keys: &config.api_keys,
            connect: config.connect_timeout_ms.map(Duration::from_millis),
        }
    }
}

/// What differs between providers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Protocol {
    pub(super) base_url: &'static str,
    pub(super) key_env: &'static str,
    pub(super) key_header: &'static str,
    /// What stands before the key.
    pub(super) key_prefix: &'static str,
    pub(super) headers: &'static [(&'static str, &'static str)],
}

/// A provider's API. Cheap to clone; clones share connections.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    key_header: HeaderName,
    keys: Arc<Keys>,
    /// Where the key came from, for messages.
    key_from: String,
    /// Whether `base` is the provider's own.
    official: bool,
}

/// Without headers: they hold the key. Without user and password of the address.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.base.host_str().unwrap_or_default();
        f.debug_struct("Client").field("host", &host).field("key_from", &self.key_from).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of `protocol`.
    ///
    /// # Errors
    /// `Unauthorized`, naming the variable, when there is no key and the address is the provider's own, or when a
    /// variable is named that is not set; `Invalid` for an address that is none.
    pub(super) fn new(protocol: Protocol, access: &Access<'_>) -> Result<Self> {
        Self::with_env(protocol, access, |name| std::env::var(name).ok())
    }

    fn with_env(protocol: Protocol, access: &Access<'_>, env: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let base = base_url(access.base_url.unwrap_or(protocol.base_url))?;
        let official = access.base_url.is_none();
        let (keys, key_from) = keys(protocol, access, official, env)?;
        let keys = keys.iter().map(|key| key_value(protocol, key)).collect::<Result<Vec<_>>>()?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(access.connect.unwrap_or(CONNECT))
            // Small pieces of an answer must not wait for more to come.
            .tcp_nodelay(true)
            .read_timeout(IDLE)
            // A key must not follow a redirect to another place.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("triune/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers(protocol));
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|e| {
            Error::new(ErrorKind::Unavailable, "no secure connection can be made here; set SSL_CERT_FILE to the roots")
                .during("Client::new")
                .caused_by(e.without_url())
        })?;
        let key_header = HeaderName::from_static(protocol.key_header);
        Ok(Self { http, base, key_header, keys: Arc::new(Keys::new(keys)), key_from, official })
    }

    /// Whether the address is the provider's own.
    pub(super) fn official(&self) -> bool {
        self.official
    }

    /// Sends `body` to `path`; the answer has begun when this returns, with the number of the key that pays. A key that is
    /// refused, told to slow down or out of money gives way to the next one.
    async fn post(&self, path: &str, model: &str, body: &Value) -> Result<(Response, usize)> {
        let url = self.url(path)?;
        let mut key = self.keys.pick(Instant::now());
        for _ in 0..MOST_KEYS {
            let mut request = self.http.post(url.clone()).json(body);
            if let Some(value) = self.keys.header(key) {
                request = request.header(&self.key_header, value);
            }
            let response = request.send().await.map_err(|e| broken(e, model))?;
            if response.status().is_success() {
                return Ok((response, key));
            }
            let status = response.status().as_u16();
            let asked = retry_after_ms(response.headers(), SystemTime::now());
            // An error whose body breaks off is still the error of its status.
            let text = read(response, ERROR_BODY, model).await.unwrap_or_default();
            let refusal = Refusal { status, retry_after_ms: asked, body: &text, key_from: &self.key_from, model };
            let error = failure::error(refusal);
            let next = self.keys.instead_of(key, &error, asked.map(Duration::from_millis), Instant::now());
            key = next.ok_or(error)?;
        }
        Err(Error::new(ErrorKind::Unauthorized, "no key of the model works; check them").with("model", model))
    }

    /// The same, for an answer that comes as events to the model of `profile`; with the name of the key that pays, where it
    /// is not the one of the profile.
    pub(super) async fn post_for_events(
        &self,
        path: &str,
        profile: &ModelProfile,
        body: &Value,
    ) -> Result<(Response, Option<String>)> {
        let model = profile.id.as_str();
        let (response, key) = self.post(path, model, body).await?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("application/json") {
            return Ok((response, Keys::name(key, profile.key.as_deref())));
        }
        // No events: some servers say so that they failed, with a status that says they did not.
        let body = read(response, ERROR_BODY, model).await?;
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        Err(if said["error"].is_null() { not_understood(model) } else { self.stream_error(&said, model) })
    }

    /// Sends `body` to `path` and reads the whole answer.
    pub(super) async fn post_json(&self, path: &str, model: &str, body: &Value) -> Result<Value> {
        let (response, _) = self.post(path, model, body).await?;
        let body = read(response, WHOLE_BODY, model).await?;
        serde_json::from_slice(&body).map_err(|_| not_understood(model))
    }

    /// The error inside a stream whose event is `data`.
    pub(super) fn stream_error(&self, data: &Value, model: &str) -> Error {
        let body = data.to_string();
        let body = body.as_bytes();
        failure::error(Refusal { status: 200, retry_after_ms: None, body, key_from: &self.key_from, model })
    }

    fn url(&self, path: &str) -> Result<Url> {
        self.base.join(path).map_err(|_| Error::invalid("`base_url` cannot have a path added; correct it"))
    }
}

/// What `error` of the connection means.
pub(super) fn broken(error: reqwest::Error, model: &str) -> Error {
    let sent = !error.is_connect();
    let (kind, message) = match (sent, error.is_timeout()) {
        (true, true) => (ErrorKind::Timeout, "the server was silent for too long; try again, or ask for less"),
        (true, false) => (ErrorKind::Unavailable, "the connection to the server broke; try again"),
        (false, _) => (ErrorKind::Unavailable, "the server cannot be reached; check `base_url` and the network"),
    };
    let broken = Error::new(kind, message).with("model", model).caused_by(error.without_url());
    if sent { perhaps_billed(broken) } else { broken }
}

/// `error` of a call that the server may bill all the same.
pub(super) fn perhaps_billed(error: Error) -> Error {
    error.with("billed", "perhaps")
}

/// The server answered what its protocol does not have.
pub(super) fn not_understood(model: &str) -> Error {
    let message = "the server's answer is not of its protocol; check `provider` and `base_url`";
    perhaps_billed(Error::new(ErrorKind::Unavailable, message).with("model", model))
}

async fn read(response: Response, limit: usize, model: &str) -> Result<Vec<u8>> {
    let (mut body, mut bytes) = (Vec::new(), response.bytes_stream());
    while let Some(more) = bytes.next().await {
        let more = more.map_err(|e| broken(e, model))?;
        let room = limit - body.len();
        body.extend_from_slice(&more[..more.len().min(room)]);
        if more.len() > room {
            break;
        }
    }
    Ok(body)
}

fn base_url(text: &str) -> Result<Url> {
    let wrong = || Error::invalid("`base_url` is an address such as https://api.openai.com/v1; correct it");
    // Paths are joined to it, so it ends with a slash.
    let url = Url::parse(&format!("{}/", text.trim_end_matches('/'))).map_err(|_| wrong())?;
    if matches!(url.scheme(), "http" | "https") && url.host().is_some() && url.query().is_none() {
        Ok(url)
    } else {
        Err(wrong())
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The keys and where they came from. The provider's usual variable is read for the provider's own address only, so
/// that its key never goes to another server.
fn keys(
    protocol: Protocol,
    access: &Access<'_>,
    official: bool,
    env: impl Fn(&str) -> Option<String>,
) -> Result<(Vec<String>, String)> {
    let given = access.api_key.into_iter().chain(access.more_keys.iter().map(String::as_str));
    let given: Vec<_> = given.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()).collect();
    if !given.is_empty() {
        let from = if access.more_keys.is_empty() { "`api_key` of the model" } else { "`api_keys` of the model" };
        return Ok((given, from.into()));
    }
    let Some(variable) = access.api_key_env.or(official.then_some(protocol.key_env)) else {
        return Ok((Vec::new(), "`api_key` or `api_key_env` of the model".into()));
    };
    let found = env(variable).unwrap_or_default();
    let found: Vec<_> = found.split(',').map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()).collect();
    if found.is_empty() {
        let message = format!("there is no key: set {variable}, or `api_key` of the model");
        return Err(Error::new(ErrorKind::Unauthorized, message));
    }
    Ok((found, variable.to_owned()))
}

fn headers(protocol: Protocol) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in protocol.headers {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

fn key_value(protocol: Protocol, key: &str) -> Result<HeaderValue> {
    // The parse error would repeat the key.
    let mut value = HeaderValue::from_str(&format!("{}{key}", protocol.key_prefix))
        .map_err(|_| Error::new(ErrorKind::Unauthorized, "the key has characters that no key has; copy it again"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOCOL: Protocol = Protocol {
        base_url: "https://api.example.com/v1",
        key_env: "EXAMPLE_KEY",
        key_header: "authorization",
        key_prefix: "Bearer ",
        headers: &[],
    };
    const NOTHING: Access<'_> =
        Access { base_url: None, api_key: None, api_key_env: None, more_keys: &[], connect: None };

    #[expect(clippy::unnecessary_wraps, reason = "it stands for a variable that may be absent")]
    fn set(_: &str) -> Option<String> {
        Some("sk-from-env".into())
    }

    #[test]
    fn a_missing_key_is_told_by_the_name_of_its_variable() {
        let error = Client::with_env(PROTOCOL, &NOTHING, |_| None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        assert!(error.message().contains("EXAMPLE_KEY"));
        let access = Access { base_url: Some("http://127.0.0.1:1"), api_key_env: Some("OTHER"), ..NOTHING };
        assert!(Client::with_env(PROTOCOL, &access, |_| Some(" ".into())).unwrap_err().message().contains("OTHER"));
    }

    #[test]
    fn the_providers_key_stays_with_the_provider() {
        let access = Access { base_url: Some("https://elsewhere.example"), ..NOTHING };
        assert!(keys(PROTOCOL, &access, false, set).unwrap().0.is_empty());
        assert_eq!(keys(PROTOCOL, &NOTHING, true, set).unwrap().0, ["sk-from-env"]);
    }

    #[test]
    fn several_keys_come_from_the_settings_or_from_one_variable() {
        let more = ["b".to_owned(), " ".to_owned()];
        let access = Access { api_key: Some("a"), more_keys: &more, ..NOTHING };
        assert_eq!(keys(PROTOCOL, &access, true, set).unwrap().0, ["a", "b"]);
        let several = |_: &str| Some("a, b,".to_owned());
        assert_eq!(keys(PROTOCOL, &NOTHING, true, several).unwrap().0, ["a", "b"]);
    }

    #[test]
    fn no_key_is_ever_shown() {
        let access = Access { api_key: Some("sk-very-secret"), ..NOTHING };
        let client = Client::with_env(PROTOCOL, &access, set).unwrap();
        assert!(!format!("{client:?}").contains("secret"));
        let broken = Access { api_key: Some("sk-very-\u{7}secret"), ..NOTHING };
        let error = Client::with_env(PROTOCOL, &broken, set).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
        let url = Access { base_url: Some("https://user:secret@example.com/v1"), ..NOTHING };
        assert!(!format!("{:?}", Client::with_env(PROTOCOL, &url, set).unwrap()).contains("secret"));
        assert!(!format!("{:?}", key_value(PROTOCOL, "sk-very-secret").unwrap()).contains("secret"));
    }

    #[test]
    fn paths_are_joined_whether_or_not_the_address_ends_with_a_slash() {
        for base in ["http://localhost:8000/v1", "http://localhost:8000/v1/"] {
            let client = Client::with_env(PROTOCOL, &Access { base_url: Some(base), ..NOTHING }, set).unwrap();
            assert_eq!(client.url("chat/completions").unwrap().as_str(), "http://localhost:8000/v1/chat/completions");
        }
        for base in ["", "ftp://example.com", "localhost:8000", "http://x/?q=1", "http://"] {
            let error = Client::with_env(PROTOCOL, &Access { base_url: Some(base), ..NOTHING }, set).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{base}");
        }
    }
}
