//! What a URL opens, and which models a configuration means.

#[cfg(feature = "cloud")]
mod cloud;
#[cfg(not(feature = "cloud"))]
#[path = "cloud_absent.rs"]
mod cloud;
#[cfg(feature = "local")]
mod local;
#[cfg(not(feature = "local"))]
#[path = "local_absent.rs"]
mod local;
mod models;

use std::path::PathBuf;

pub(crate) use models::{OpenModels, open_models};

use crate::error::{Error, ErrorKind, Result};

/// Where a [`Triune`](crate::Triune) keeps what it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// A folder with an LMDB environment.
    Folder(PathBuf),
}

/// Schemes that scale out; they are planned and not in this version.
const PLANNED: &[&str] = &["redis", "postgres", "postgresql", "chroma", "neo4j"];

/// Reads `lmdb:///absolute/path`, `lmdb://relative/path` or a plain path.
///
/// # Errors
/// `Unsupported` for a scheme that this version does not open, `Invalid` for an empty path.
pub(crate) fn parse_url(url: &str) -> Result<Location> {
    let path = match url.split_once("://") {
        None => url,
        Some(("lmdb", path)) => path,
        Some((scheme, _)) if PLANNED.contains(&scheme) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("\"{scheme}://\" is planned and not in this version; open a folder: lmdb:///path/to/folder"),
            ));
        }
        Some((scheme, _)) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("\"{scheme}://\" is not known; open a folder: lmdb:///path/to/folder"),
            ));
        }
    };
    if path.trim().is_empty() {
        return Err(Error::invalid("the path is empty; open a folder: lmdb:///path/to/folder or ./folder"));
    }
    Ok(Location::Folder(PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_by_url_and_by_path() {
        let folder = |path: &str| Location::Folder(PathBuf::from(path));
        assert_eq!(parse_url("lmdb:///var/mind").unwrap(), folder("/var/mind"));
        assert_eq!(parse_url("lmdb://./mind").unwrap(), folder("./mind"));
        assert_eq!(parse_url("./mind").unwrap(), folder("./mind"));
        assert_eq!(parse_url("/tmp/a b").unwrap(), folder("/tmp/a b"));
    }

    #[test]
    fn what_cannot_be_opened_says_what_can() {
        for (url, kind) in [
            ("redis://host", ErrorKind::Unsupported),
            ("ftp://host", ErrorKind::Unsupported),
            ("", ErrorKind::Invalid),
            ("lmdb://", ErrorKind::Invalid),
        ] {
            let error = parse_url(url).unwrap_err();
            assert_eq!(error.kind(), kind, "{url}");
            assert!(error.message().contains("lmdb:///path"), "{error}");
        }
    }
}
