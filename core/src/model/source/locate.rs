//! Finds the files of a model on this machine; never asks the network.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy;
use hf_hub::Cache;

use super::ModelSource;
use crate::{
    error::{Error, ErrorKind, Result},
    model::{Catalogue, CatalogueEntry, ModelKind},
};

/// The files an embedder has.
pub(super) const EMBEDDER_FILES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

/// What else sentence-transformers may have written beside them.
#[cfg(feature = "pull")]
pub(super) const SENTENCE_FILES: [&str; 5] = [
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "tokenizer_config.json",
];

/// The folder that models are pulled into: `TRIUNE_MODELS`, or `triune/models` in the user's cache folder.
///
/// # Errors
/// `NotFound` when neither is known.
pub fn cache_folder() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("TRIUNE_MODELS").filter(|folder| !folder.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    let base = etcetera::choose_base_strategy()
        .map_err(|e| Error::not_found("there is no cache folder; set TRIUNE_MODELS to one").caused_by(e))?;
    Ok(base.cache_dir().join("triune").join("models"))
}

/// The file of a chat model, or the folder of an embedder, that `source` names: a path, a name of the catalogue or a
/// hub id. Looks into triune's cache folder first, then into the hub's.
///
/// # Errors
/// `NotFound`, naming the command that gets it; `Invalid` when `source` is not of this `kind`.
pub fn locate(source: &str, kind: ModelKind) -> Result<PathBuf> {
    locate_in(&cache_folder()?, source, kind)
}

/// As [`locate`], with another cache folder than triune's own.
///
/// # Errors
/// As [`locate`].
pub fn locate_in(cache: &Path, source: &str, kind: ModelKind) -> Result<PathBuf> {
    let found = match ModelSource::parse(source)? {
        ModelSource::Path(path) => return at_path(&path, kind),
        ModelSource::Catalogue(name) => {
            let catalogue = Catalogue::built_in()?;
            let entry = catalogue.find(&name).ok_or_else(|| unknown(&catalogue, &name))?;
            if entry.kind != kind {
                return Err(Error::invalid(format!("\"{name}\" is of the other kind: a chat model is no embedder")));
            }
            catalogued(cache, entry)
        }
        ModelSource::Hub { repo, file } => {
            let wanted = wanted_files(file, kind)?;
            let wanted: Vec<_> = wanted.iter().map(|name| (name.as_str(), None)).collect();
            all_in(&cache.join(folder_name(&repo)), &wanted).or_else(|| in_hub_cache(&repo, &wanted))
        }
    };
    found.map(|(folder, first)| if kind == ModelKind::Chat { first } else { folder }).ok_or_else(|| {
        Error::not_found(format!("the model is not on this machine; run `triune models pull {source}`"))
            .during("locate")
            .with("source", source)
    })
}

/// Where the files of `entry` are, if they all are: the folder and the first file.
pub(super) fn catalogued(cache: &Path, entry: &CatalogueEntry) -> Option<(PathBuf, PathBuf)> {
    let wanted: Vec<_> = entry.files.iter().map(|file| (file.name.as_str(), Some(file.size))).collect();
    all_in(&cache.join(&entry.name), &wanted).or_else(|| in_hub_cache(&entry.hub, &wanted))
}

/// The folder of a hub repository in triune's cache.
pub(super) fn folder_name(repo: &str) -> String {
    repo.replace('/', "--")
}

/// The files meant by a hub id.
pub(super) fn wanted_files(file: Option<String>, kind: ModelKind) -> Result<Vec<String>> {
    match (file, kind) {
        (Some(file), ModelKind::Chat) => Ok(vec![file]),
        (None, ModelKind::Embedder) => Ok(EMBEDDER_FILES.map(str::to_owned).to_vec()),
        (None, ModelKind::Chat) => Err(Error::invalid("name the file of the repository too: \"owner/repo:file.gguf\"")),
        (Some(_), ModelKind::Embedder) => Err(Error::invalid("an embedder is a whole repository: \"owner/repo\"")),
    }
}

pub(super) fn unknown(catalogue: &Catalogue, name: &str) -> Error {
    let known: Vec<_> = catalogue.models.iter().map(|model| model.name.as_str()).collect();
    Error::not_found(format!("no model is called \"{name}\"; there are: {}", known.join(", ")))
}

fn at_path(path: &Path, kind: ModelKind) -> Result<PathBuf> {
    let missing = || {
        Error::not_found("there is nothing at this path; name a file or folder that exists")
            .with("path", path.display())
    };
    let facts = fs::metadata(path).map_err(|e| missing().caused_by(e))?;
    if kind == ModelKind::Embedder {
        return if facts.is_dir() {
            Ok(path.to_owned())
        } else {
            Err(Error::invalid("an embedder is a folder, and this is a file"))
        };
    }
    if facts.is_file() {
        return Ok(path.to_owned());
    }
    let entries = fs::read_dir(path).map_err(|e| missing().caused_by(e))?;
    let is_model = |path: &PathBuf| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"));
    let mut models = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_model);
    match (models.next(), models.next()) {
        (Some(model), None) => Ok(model),
        // As transformers saves a model.
        (None, _) if path.join("config.json").is_file() => Ok(path.to_owned()),
        (None, _) => Err(Error::not_found("the folder holds no .gguf file, and no model with a config.json")
            .with("path", path.display())),
        _ => Err(Error::new(ErrorKind::Invalid, "the folder holds several .gguf files; name one")
            .with("path", path.display())),
    }
}

fn all_in(folder: &Path, wanted: &[(&str, Option<u64>)]) -> Option<(PathBuf, PathBuf)> {
    let whole = |&(name, size): &(&str, Option<u64>)| {
        fs::metadata(folder.join(name))
            .is_ok_and(|facts| facts.is_file() && size.is_none_or(|size| size == facts.len()))
    };
    let first = folder.join(wanted.first()?.0);
    wanted.iter().all(whole).then(|| (folder.to_owned(), first))
}

fn in_hub_cache(repo: &str, wanted: &[(&str, Option<u64>)]) -> Option<(PathBuf, PathBuf)> {
    let cache = env::var_os("HF_HUB_CACHE").filter(|folder| !folder.is_empty());
    let cache = cache.map_or_else(Cache::from_env, |folder| Cache::new(folder.into()));
    let first = cache.model(repo.to_owned()).get(wanted.first()?.0)?;
    // The file may lie in a folder of the repository: its name says how deep.
    let depth = wanted.first()?.0.split('/').count();
    all_in(first.ancestors().nth(depth)?, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_here_names_the_command_that_gets_it() {
        let cache = tempfile::tempdir().unwrap();
        let error = locate_in(cache.path(), "nobody/nothing:x.gguf", ModelKind::Chat).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.message().contains("`triune models pull nobody/nothing:x.gguf`"));
        let error = locate_in(cache.path(), "smol", ModelKind::Chat).unwrap_err();
        assert!(error.message().contains("there are: all-minilm-l6-v2, smollm2-135m"));
        assert_eq!(
            locate_in(cache.path(), "smollm2-135m", ModelKind::Embedder).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }

    #[test]
    fn a_pulled_model_is_found_only_when_whole() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("owner--repo");
        fs::create_dir(&folder).unwrap();
        for name in &EMBEDDER_FILES[..2] {
            fs::write(folder.join(name), "x").unwrap();
        }
        let located = || locate_in(cache.path(), "owner/repo", ModelKind::Embedder);
        assert!(located().is_err());
        fs::write(folder.join(EMBEDDER_FILES[2]), "x").unwrap();
        assert_eq!(located().unwrap(), folder);
    }

    #[test]
    fn a_folder_with_one_model_is_that_model() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().to_str().unwrap();
        assert_eq!(locate_in(folder.path(), source, ModelKind::Chat).unwrap_err().kind(), ErrorKind::NotFound);
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        assert_eq!(locate_in(folder.path(), source, ModelKind::Chat).unwrap(), folder.path());
        fs::write(folder.path().join("a.gguf"), "x").unwrap();
        assert_eq!(locate_in(folder.path(), source, ModelKind::Chat).unwrap(), folder.path().join("a.gguf"));
        fs::write(folder.path().join("b.GGUF"), "x").unwrap();
        assert_eq!(locate_in(folder.path(), source, ModelKind::Chat).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
