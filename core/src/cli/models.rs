//! `triune models`: list, pull, remove.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use comfy_table::{Table, presets};
use indicatif::HumanBytes;
use serde::Serialize;

use super::{bar::Bar, print::say};
use crate::{
    context::Context,
    error::{Error, Result},
    model::{
        Catalogue, CatalogueEntry, ModelKind,
        source::{PullConfig, cache_folder, locate_in, pull, remove},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Models {
    /// Shows the models triune knows by name, and whether they are on this machine.
    List {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Gets models into the cache folder; goes on with what was begun.
    Pull {
        /// A name of the catalogue, or a hub id: `owner/repo:file.gguf` for a chat model, `owner/repo` for an embedder.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Takes a model out of the cache folder.
    Remove {
        /// The name it was pulled by.
        name: String,
    },
}

/// A model as `list --json` shows it.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    kind: ModelKind,
    licence: &'a str,
    /// Bytes of its files.
    size: u64,
    files: Vec<File<'a>>,
    /// Where it is on this machine.
    path: Option<PathBuf>,
}

#[derive(Serialize)]
struct File<'a> {
    name: &'a str,
    size: u64,
    sha256: &'a str,
}

impl Models {
    pub(super) async fn run(self, cx: &Context) -> Result<()> {
        match self {
            Self::List { json } => list(&cache_folder()?, json),
            Self::Pull { names } => {
                let config = PullConfig::from_env()?;
                for name in names {
                    let bar = Bar::default();
                    let pulled = pull(cx, &config, &name, &bar).await;
                    bar.finish();
                    say(&format!("{name}: {}", pulled?.display()))?;
                }
                Ok(())
            }
            Self::Remove { name } => {
                remove(&cache_folder()?, &name)?;
                say(&format!("{name} is removed"))
            }
        }
    }
}

fn list(cache: &Path, json: bool) -> Result<()> {
    let catalogue = Catalogue::built_in()?;
    let rows: Vec<_> = catalogue.models.iter().map(|entry| row(cache, entry)).collect();
    if json {
        let text = serde_json::to_string_pretty(&rows)
            .map_err(|e| Error::unexpected("the list has no JSON form").caused_by(e))?;
        return say(&text);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["NAME", "KIND", "LICENCE", "SIZE", "SHA-256", "HERE"]);
    for row in &rows {
        let kind = if row.kind == ModelKind::Chat { "chat" } else { "embedder" };
        // Of the largest file: the weights.
        let weights = row.files.iter().max_by_key(|file| file.size).map_or("", |file| &file.sha256[..12]);
        let here = if row.path.is_some() { "yes" } else { "no" };
        table.add_row([row.name, kind, row.licence, &HumanBytes(row.size).to_string(), weights, here]);
    }
    say(&table.to_string())
}

fn row<'a>(cache: &Path, entry: &'a CatalogueEntry) -> Row<'a> {
    Row {
        name: &entry.name,
        kind: entry.kind,
        licence: &entry.licence,
        size: entry.files.iter().map(|file| file.size).sum(),
        files: entry
            .files
            .iter()
            .map(|file| File { name: &file.name, size: file.size, sha256: &file.sha256 })
            .collect(),
        path: locate_in(cache, &entry.name, entry.kind).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_says_what_is_here() {
        let cache = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::built_in().unwrap();
        let entry = catalogue.find("smollm2-135m").unwrap();
        let json = serde_json::to_value(row(cache.path(), entry)).unwrap();
        assert_eq!((json["kind"].as_str(), json["size"].as_u64()), (Some("chat"), Some(98_362_432)));
        let folder = cache.path().join(&entry.name);
        std::fs::create_dir(&folder).unwrap();
        let file = std::fs::File::create(folder.join(&entry.files[0].name)).unwrap();
        file.set_len(entry.files[0].size).unwrap();
        assert_eq!(row(cache.path(), entry).path, Some(folder.join(&entry.files[0].name)));
    }

    #[test]
    fn wrong_use_is_told_and_help_is_no_error() {
        assert_eq!(super::super::run(&[], ["triune", "models", "--help"]), 0);
        assert_eq!(super::super::run(&[], ["triune", "modles"]), 2);
        assert_eq!(super::super::run(&[], ["triune", "models", "pull", "no-such-model-of-ours"]), 1);
    }
}
