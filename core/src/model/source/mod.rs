//! Where model files come from: a path, the cache folder of triune, the hub's cache folder; and, with the feature
//! `pull`, from the network into the cache folder.

#[cfg(any(feature = "local", feature = "pull"))]
mod locate;
#[cfg(feature = "pull")]
mod pull;

use std::path::PathBuf;

use crate::error::{Error, Result};

#[cfg(any(feature = "local", feature = "pull"))]
pub use locate::{cache_folder, locate, locate_in};
#[cfg(feature = "pull")]
pub use pull::{Progress, PullConfig, pull, remove};

/// A model as a configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// A file, or a folder of files. Written with a leading `.`, `/`, `~`, a drive, or the ending `.gguf`.
    Path(PathBuf),
    /// A name of the catalogue, such as `smollm2-135m`.
    Catalogue(String),
    /// A repository of the hub, `owner/repo`, and perhaps one file of it, `owner/repo:file`.
    Hub {
        /// `owner/repo`.
        repo: String,
        /// The file.
        file: Option<String>,
    },
}

impl ModelSource {
    /// Understands `source`. Looks at no disk: what a name means never depends on what lies in a folder.
    ///
    /// # Errors
    /// `Invalid` when it is none of the three.
    pub fn parse(source: &str) -> Result<Self> {
        let source = source.trim();
        if let Some((repo, file)) = source.split_once(':').filter(|(repo, _)| is_repo(repo)) {
            if !is_file(file) {
                return Err(Error::invalid(
                    "the file of a hub model is a plain path such as \"owner/repo:model.gguf\"",
                ));
            }
            return Ok(Self::Hub { repo: repo.to_owned(), file: Some(file.to_owned()) });
        }
        let drive = source.as_bytes().get(1) == Some(&b':') || source.contains('\\');
        if source.starts_with(['.', '/']) || source.to_ascii_lowercase().ends_with(".gguf") || drive {
            return Ok(Self::Path(PathBuf::from(source)));
        }
        if let Some(rest) = source.strip_prefix("~/") {
            let home =
                etcetera::home_dir().map_err(|e| Error::invalid("there is no home folder for ~").caused_by(e))?;
            return Ok(Self::Path(home.join(rest)));
        }
        if is_repo(source) {
            return Ok(Self::Hub { repo: source.to_owned(), file: None });
        }
        if is_part(source) {
            return Ok(Self::Catalogue(source.to_owned()));
        }
        Err(Error::invalid(
            "a model is a path (\"./model.gguf\"), a name of the catalogue (\"smollm2-135m\") or a hub id \
             (\"owner/repo:file.gguf\")",
        ))
    }
}

/// A part of a hub id or a name: what is safe as the name of a folder.
fn is_part(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= 96
        && !part.starts_with('.')
        && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_repo(text: &str) -> bool {
    text.split_once('/').is_some_and(|(owner, repo)| is_part(owner) && is_part(repo))
}

fn is_file(text: &str) -> bool {
    text.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_form_is_known() {
        let hub = |repo: &str, file: Option<&str>| ModelSource::Hub { repo: repo.into(), file: file.map(Into::into) };
        for (text, expected) in [
            ("smollm2-135m", ModelSource::Catalogue("smollm2-135m".into())),
            ("./a/b", ModelSource::Path("./a/b".into())),
            ("/a/b.gguf", ModelSource::Path("/a/b.gguf".into())),
            ("models/b.gguf", ModelSource::Path("models/b.gguf".into())),
            ("C:\\m\\b.gguf", ModelSource::Path("C:\\m\\b.gguf".into())),
            ("owner/repo", hub("owner/repo", None)),
            ("owner/repo:sub/x.Q4_1.gguf", hub("owner/repo", Some("sub/x.Q4_1.gguf"))),
        ] {
            assert_eq!(ModelSource::parse(text).unwrap(), expected, "{text}");
        }
        for bad in ["", "  ", "a b", "owner/repo:../x.gguf", "a/b/c", "owner/repo:/etc/x", "owner/repo:"] {
            assert!(ModelSource::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_hub_id_leaves_its_folder(text in "[a-z./:~\\\\]{0,12}") {
            if let Ok(ModelSource::Hub { repo, file }) = ModelSource::parse(&text) {
                prop_assert!(!repo.split('/').chain(file.iter().flat_map(|file| file.split('/'))).any(|part| part.starts_with('.')));
            }
        }
    }
}
