//! Settings, from code, a TOML file and the environment. An unknown key is an error that names the nearest known one.

use std::{borrow::Cow, ffi::OsString, ops::Range, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    creative::CreativeConfig,
    error::{Error, ErrorKind, Result},
    model::{EmbedderConfig, ModelConfig, RerankerConfig},
    parallel::ParallelConfig,
    recall::RecallConfig,
    router::RouterConfig,
    store::StoreConfig,
    team::TeamConfig,
};

/// Variables that begin like this are settings: `TRIUNE__ROUTER__REFERENCE_MODEL=gpt-4o-mini`.
const ENV_PREFIX: &str = "TRIUNE__";

/// Settings of a [`Triune`](crate::Triune). Every field has a default.
///
/// The environment comes first: what a variable such as `TRIUNE__TEAM__AGENTS=20` says goes before a settings file, and
/// before what the program says. [`TriuneBuilder::open`](crate::TriuneBuilder::open) sees to it.
///
/// ```
/// use triune::Config;
/// let config = Config::from_toml("[router]\nreference_model = \"gpt-4o-mini\"")?;
/// assert_eq!(config.router.reference_model, "gpt-4o-mini");
/// let error = Config::from_toml("[router]\nreference_modle = \"x\"").unwrap_err();
/// assert!(error.message().contains("did you mean `reference_model`?"));
/// # Ok::<(), triune::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The chat models. Default: none but what `discover` finds.
    pub models: Vec<ModelConfig>,
    /// The embedder. Default: what `discover` finds.
    pub embedder: Option<EmbedderConfig>,
    /// The reranker of recall. Default: none.
    pub reranker: Option<RerankerConfig>,
    /// The image model, of OpenAI or of a server that speaks its format. Default: none.
    pub image_model: Option<ModelConfig>,
    /// Whether to use the catalogued models found in the cache folder, where no chat model, or no embedder, is
    /// named. Default true.
    pub discover: bool,
    /// Bytes that the local models of `models` share. Where one lacks room to be loaded, others that write nothing
    /// leave memory, the longest unused first, until they are asked again. Default: no limit.
    pub memory_budget_bytes: Option<u64>,
    /// The store.
    pub store: StoreConfig,
    /// The router.
    pub router: RouterConfig,
    /// Recall.
    pub recall: RecallConfig,
    /// Parallel Mind.
    pub parallel: ParallelConfig,
    /// The Creative engine.
    pub creative: CreativeConfig,
    /// The team.
    pub team: TeamConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            models: Vec::new(),
            embedder: None,
            reranker: None,
            image_model: None,
            discover: true,
            memory_budget_bytes: None,
            store: StoreConfig::default(),
            router: RouterConfig::default(),
            recall: RecallConfig::default(),
            parallel: ParallelConfig::default(),
            creative: CreativeConfig::default(),
            team: TeamConfig::default(),
        }
    }
}

impl Config {
    /// From the text of a TOML file.
    ///
    /// # Errors
    /// `Invalid`, with line, column and, for an unknown key, the nearest known one. Never with a value.
    pub fn from_toml(text: &str) -> Result<Self> {
        // The parser's own text would show the line, and a key may stand on it.
        toml::from_str(text).map_err(|e| explain(&place(text, e.span()), e.message()))
    }

    /// From a JSON object: the form in which Python and Node hand settings over.
    ///
    /// # Errors
    /// `Invalid`, naming for an unknown key the nearest known one. Never with a value.
    pub fn from_json(value: Value) -> Result<Self> {
        // The path to the key goes into the message: a JSON value has no lines to name.
        serde_path_to_error::deserialize(value).map_err(|e| explain(&e.path().to_string(), &e.inner().to_string()))
    }

    /// From a TOML file, with the environment on top.
    ///
    /// # Errors
    /// `NotFound` when the file cannot be read, `Invalid` as for [`Config::from_toml`].
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::new(ErrorKind::NotFound, "the settings file cannot be read; check its path and permissions")
                .with("path", path.display())
                .caused_by(e)
        })?;
        Self::from_toml(&text)?.with_environment(std::env::vars_os())
    }

    /// The defaults, with the environment on top.
    ///
    /// # Errors
    /// `Invalid` as for [`Config::with_environment`].
    pub fn from_environment() -> Result<Self> {
        Self::default().with_environment(std::env::vars_os())
    }

    /// With `variables` on top: those whose name begins with `TRIUNE__`, sections apart by `__`. Values are TOML
    /// values; what is not one is a text.
    ///
    /// # Errors
    /// `Invalid`, naming the variable and, for an unknown key, the nearest known one. Variables of others may be
    /// anything.
    pub fn with_environment(self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self> {
        let mut layer = Map::new();
        let ours = variables.into_iter().filter(|(name, _)| name.as_encoded_bytes().starts_with(ENV_PREFIX.as_bytes()));
        for (name, text) in ours {
            let (name, Ok(text)) = (name.to_string_lossy(), text.into_string()) else {
                return Err(Error::invalid("a setting in the environment is not Unicode text; correct it")
                    .with("variable", name.to_string_lossy()));
            };
            let path = name.strip_prefix(ENV_PREFIX).unwrap_or_default();
            let keys: Vec<_> = path.split("__").map(str::to_lowercase).collect();
            let one = nest(&keys, toml_value(&text));
            // Each variable is read on its own first, so that an error can name it.
            Self::from_json(one.clone()).map_err(|e| Error::invalid(e.message().to_owned()).with("variable", &name))?;
            merge(&mut layer, one);
        }
        if layer.is_empty() {
            return Ok(self);
        }
        let mut all =
            serde_json::to_value(&self).map_err(|e| Error::unexpected("settings have no JSON form").caused_by(e))?;
        if let Value::Object(all) = &mut all {
            merge(all, Value::Object(layer));
        }
        Self::from_json(all)
    }
}

fn nest(keys: &[String], value: Value) -> Value {
    keys.iter().rev().fold(value, |inner, key| Value::Object(Map::from_iter([(key.clone(), inner)])))
}

fn merge(into: &mut Map<String, Value>, from: Value) {
    let Value::Object(from) = from else { return };
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(old)), new @ Value::Object(_)) => merge(old, new),
            (_, new) => {
                into.insert(key, new);
            }
        }
    }
}

fn toml_value(text: &str) -> Value {
    let read = toml::from_str::<Map<String, Value>>(&format!("v = {text}"));
    read.ok().and_then(|mut read| read.remove("v")).unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Line and column of the beginning of `span` in `text`.
fn place(text: &str, span: Option<Range<usize>>) -> String {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    let (line, column) =
        (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1);
    format!("line {line}, column {column}")
}

/// The error of a parser at `place`, with the nearest known key when it complains of an unknown one.
fn explain(place: &str, message: &str) -> Error {
    let hint = nearest_known(message).map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
    Error::invalid(format!("the settings cannot be read: {place}: {}{hint}", without_value(message))).during("Config")
}

/// `message` without the value it complains of, which may be a key: serde says "invalid type: string \"a\", expected b",
/// "invalid value: integer `1`, expected b" and "unknown variant `a`, expected one of `b`".
fn without_value(message: &str) -> Cow<'_, str> {
    let shows = ["invalid type: ", "invalid value: ", "unknown variant "];
    if !shows.iter().any(|words| message.starts_with(words)) {
        return Cow::Borrowed(message);
    }
    let (found, expected) = message.rsplit_once(", expected ").unwrap_or((message, "something else"));
    // A kind of value is plain words; the value itself stands in quotation marks after it.
    let kind = found.split(['"', '`']).next().unwrap_or_default().trim_end();
    Cow::Owned(format!("{kind}, expected {expected}"))
}

/// In serde's words, "unknown field `a`, expected one of `b`, `c`": the known name nearest to the unknown one.
fn nearest_known(message: &str) -> Option<&str> {
    let mut names = message.split_once("unknown ")?.1.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    names.max_by(|a, b| strsim::jaro_winkler(unknown, a).total_cmp(&strsim::jaro_winkler(unknown, b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn environment(name: &str, value: &str) -> Result<Config> {
        Config::default().with_environment([(name.into(), value.into())])
    }

    #[test]
    fn a_value_is_never_shown() {
        let texts = [
            "[[models]]\napi_key = \"sk-secret\nsource = 1",
            "[[models]]\napi_key = sk-secret",
            "[[models]]\nprovider = \"sk-secret\"",
            "models = \"sk-secret, expected nothing\"",
            "[team]\nagents = \"sk-secret\"\n",
            "[[models]]\nsource = \"m\" api_key = \"sk-secret\"",
            "[[models]]\napi_key = \"a\"\napi_key = \"sk-secret\"",
        ];
        for text in texts {
            let error = Config::from_toml(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
            assert!(error.message().contains("line "), "{error}");
        }
        let values = [
            json!({"models": [{"provider": "sk-secret"}]}),
            json!({"models": "sk-secret"}),
            json!({"models": [{"api_key": ["sk-secret"], "source": 1}]}),
            json!({"team": {"agents": "sk-secret"}}),
        ];
        for value in values {
            let error = Config::from_json(value).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
        let error = environment("TRIUNE__MODELS", "sk-secret").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        let number = Config::from_json(json!({"image_model": {"api_key": 987_654_321}})).unwrap_err();
        let expected = "image_model.api_key: invalid type: integer, expected a string";
        assert!(number.message().contains(expected), "{number}");
    }

    #[test]
    fn the_words_around_a_value_stay() {
        for (said, kept) in [
            ("invalid type: string \"a, expected b\", expected u32", "invalid type: string, expected u32"),
            ("invalid value: integer `-1`, expected u32", "invalid value: integer, expected u32"),
            ("unknown variant `a`, expected `b` or `c`", "unknown variant, expected `b` or `c`"),
            ("unknown variant `a`, there are no variants", "unknown variant, expected something else"),
            ("invalid type: map, expected a string", "invalid type: map, expected a string"),
            ("unknown field `a`, expected `b`", "unknown field `a`, expected `b`"),
        ] {
            assert_eq!(without_value(said), kept);
        }
    }

    #[test]
    fn line_and_column_are_named() {
        let error = Config::from_toml("[team]\n# \u{e4}\nretries = \"many\"").unwrap_err();
        let expected = "line 3, column 11: invalid type: string, expected u32";
        assert!(error.message().contains(expected), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn only_our_own_variables_must_be_text() {
        use std::os::unix::ffi::OsStringExt;
        let odd = || OsString::from_vec(b"sk-secret\xff".to_vec());
        let others = [("OTHER".into(), odd()), (odd(), "value".into())];
        assert_eq!(Config::default().with_environment(others).unwrap(), Config::default());
        let error = Config::default().with_environment([("TRIUNE__TEAM__AGENTS".into(), odd())]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("TRIUNE__TEAM__AGENTS") && !format!("{error:?}").contains("secret"));
    }

    #[test]
    fn the_environment_is_on_top() {
        let config = Config::from_toml("[team]\nagents = 3\nretries = 1").unwrap();
        let config = config.with_environment([("TRIUNE__TEAM__AGENTS".into(), "20".into())]).unwrap();
        assert_eq!((config.team.agents, config.team.retries), (20, 1));
        assert_eq!(
            environment("TRIUNE__ROUTER__REFERENCE_MODEL", "gpt-4o-mini").unwrap().router.reference_model,
            "gpt-4o-mini"
        );
        assert_eq!(environment("TRIUNE_MODELS", "/models").unwrap(), Config::default());
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        for error in [
            Config::from_toml("[store]\nmapsize = 1").unwrap_err(),
            Config::from_json(json!({"store": {"mapsize": 1}})).unwrap_err(),
            environment("TRIUNE__STORE__MAPSIZE", "1").unwrap_err(),
        ] {
            assert!(error.message().contains("did you mean `map_size`?"), "{error}");
        }
    }

    #[test]
    fn keys_stay_out_of_debug() {
        let config =
            Config::from_json(json!({"models": [{"provider": "openai", "source": "m", "api_key": "sk-secret"}]}));
        assert!(!format!("{config:?}").contains("sk-secret"));
    }
}
