//! One file from one address: resumed where it broke off, checked, and only then given its name.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{
    Response, StatusCode,
    header::{CONTENT_RANGE, ETAG, IF_RANGE, RANGE},
};
use sha2::{Digest, Sha256};

use super::Pull;
use crate::{
    error::{Error, ErrorKind, Result},
    runtime::blocking,
};

/// How often a broken transfer is taken up again.
const ATTEMPTS: u32 = 4;
/// Bytes gathered before they are written.
const WRITE_SIZE: usize = 1 << 20;

/// What a file must be; what is not known is not checked.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    pub(super) size: Option<u64>,
    pub(super) sha256: Option<String>,
}

/// What to get.
pub(super) struct Download {
    pub(super) url: String,
    pub(super) token: Option<String>,
    pub(super) expected: Expected,
    pub(super) name: String,
    pub(super) target: PathBuf,
}

impl Pull<'_> {
    /// Gets a file. While it is incomplete it is called `.part`.
    pub(super) async fn download(&self, download: Download) -> Result<()> {
        let part = part_of(&download.target);
        let mut file = blocking({
            let part = part.clone();
            move || open_locked(&part)
        })
        .await?;
        let tag = tag_of(&download.target);
        for attempt in 1.. {
            match self.transfer(&download, &mut file, &tag).await {
                Ok(()) => break,
                // A server that was never reached is not tried again: the caller knows another place.
                Err(error) if error.is_retryable() && attempt < ATTEMPTS && size(&file)? > 0 => {
                    self.progress.note(&format!("the transfer broke off ({error}); going on"));
                    self.cx.sleep(Duration::from_millis(250 << attempt)).await?;
                }
                Err(error) => {
                    if size(&file)? == 0 {
                        let _ = fs::remove_file(&part);
                    }
                    return Err(error);
                }
            }
        }
        let Download { expected, target, .. } = download;
        blocking(move || {
            let checked = check(&mut file, &expected).and_then(|()| file.sync_all().map_err(|e| unwritable(&part, e)));
            if let Err(error) = checked {
                if error.kind() == ErrorKind::Corrupt {
                    let _ = fs::remove_file(&part);
                    let _ = fs::remove_file(&tag);
                }
                return Err(error);
            }
            let _ = fs::remove_file(&tag);
            fs::rename(&part, &target).map_err(|e| unwritable(&target, e))
        })
        .await
    }

    /// Asks for what is missing in `file` and writes it there. `tag` names the version that `file` is the beginning of:
    /// the end of another version must not be joined to it.
    async fn transfer(&self, download: &Download, file: &mut File, tag: &Path) -> Result<()> {
        let expected = &download.expected;
        let mut have = size(file)?;
        let version = fs::read_to_string(tag).ok().filter(|version| !version.is_empty());
        let same_for_sure = version.is_some() || expected.sha256.is_some();
        if expected.size.is_some_and(|size| have > size) || (have > 0 && !same_for_sure) {
            have = start_over(file)?;
        }
        if expected.size == Some(have) {
            return Ok(());
        }
        let mut response = self.ask(download, have, version).await?;
        let refuses_part = match response.status() {
            StatusCode::PARTIAL_CONTENT => !range_begins_at(&response, have),
            status => status == StatusCode::RANGE_NOT_SATISFIABLE,
        };
        if refuses_part && have > 0 {
            // The part is as long as the file, or longer: only a checksum could tell, so it is got again.
            have = start_over(file)?;
            response = self.ask(download, 0, None).await?;
        }
        match response.status() {
            StatusCode::PARTIAL_CONTENT if have > 0 => {}
            StatusCode::OK => {
                have = start_over(file)?;
                remember_version(&response, tag)?;
            }
            status => return Err(refused(status, &download.name)),
        }
        let expected = expected.size;
        file.seek(SeekFrom::End(0)).map_err(|e| unwritable(Path::new(""), e))?;
        let total = expected.or_else(|| response.content_length().map(|rest| have + rest));
        self.progress.begin(&download.name, have, total);
        self.save(response, file, &download.name, expected.unwrap_or(u64::MAX) - have).await?;
        match total {
            Some(total) if size(file)? < total => {
                Err(Error::new(ErrorKind::Unavailable, "the server stopped too early").with("file", &download.name))
            }
            _ => Ok(()),
        }
    }

    /// Asks for the file from byte `have` on, if it still is of `version`.
    async fn ask(&self, download: &Download, have: u64, version: Option<String>) -> Result<Response> {
        let mut request = self.client.get(&download.url);
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-"));
            if let Some(version) = version {
                request = request.header(IF_RANGE, version);
            }
        }
        if let Some(token) = &download.token {
            request = request.bearer_auth(token);
        }
        self.cx.run(async { request.send().await.map_err(|e| unreachable(e, &download.name)) }).await
    }

    async fn save(&self, mut response: Response, file: &mut File, name: &str, most: u64) -> Result<()> {
        let mut gathered = Vec::with_capacity(WRITE_SIZE);
        let mut came = 0;
        loop {
            let chunk = self.cx.run(async { response.chunk().await.map_err(|e| unreachable(e, name)) }).await;
            // Whatever came is kept, also when the transfer breaks or is cancelled here.
            let over = !matches!(&chunk, Ok(Some(_)));
            if let Ok(Some(bytes)) = &chunk {
                came += bytes.len() as u64;
                gathered.extend_from_slice(bytes);
                self.progress.advance(bytes.len() as u64);
            }
            if over || gathered.len() >= WRITE_SIZE {
                let mut file = file.try_clone().map_err(|e| unwritable(Path::new(name), e))?;
                gathered = blocking(move || {
                    file.write_all(&gathered).map_err(|e| unwritable(Path::new(""), e))?;
                    gathered.clear();
                    Ok(gathered)
                })
                .await?;
            }
            if came > most {
                return Err(corrupt("the server sends more than the file has").with("file", name));
            }
            if chunk?.is_none() {
                return Ok(());
            }
        }
    }
}

/// Checks size and checksum of a whole file.
pub(super) fn check(file: &mut File, expected: &Expected) -> Result<()> {
    let found = size(file)?;
    if let Some(wanted) = expected.size.filter(|&wanted| wanted != found) {
        return Err(corrupt("the file has another size than it should").with("expected", wanted).with("found", found));
    }
    let Some(wanted) = &expected.sha256 else { return Ok(()) };
    file.seek(SeekFrom::Start(0)).map_err(|e| unwritable(Path::new(""), e))?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut buffer).map_err(|e| unwritable(Path::new(""), e))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    let found = hex(&hash.finalize());
    if &found == wanted {
        return Ok(());
    }
    Err(corrupt("the file has another SHA-256 than it should, and was thrown away")
        .with("expected", wanted)
        .with("found", found))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn part_of(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Where the version of a part is kept.
fn tag_of(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".etag");
    PathBuf::from(name)
}

/// Keeps the entity tag of what the server begins to send. A weak one does not tell bytes apart (RFC 9110, 13.1.5).
fn remember_version(response: &Response, tag: &Path) -> Result<()> {
    let version = response.headers().get(ETAG).and_then(|version| version.to_str().ok());
    let version = version.filter(|version| version.starts_with('"')).unwrap_or_default();
    fs::write(tag, version).map_err(|e| unwritable(tag, e))
}

/// Opens the part for this process alone.
pub(super) fn open_locked(part: &Path) -> Result<File> {
    let folder = part.parent().unwrap_or(part);
    fs::create_dir_all(folder).map_err(|e| unwritable(folder, e))?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(part)
        .map_err(|e| unwritable(part, e))?;
    match file.try_lock() {
        Ok(()) if part.exists() => Ok(file),
        // It was given its name between opening and locking.
        Ok(()) => Err(Error::new(ErrorKind::Conflict, "another process just got this file; try again").retryable(true)),
        Err(TryLockError::WouldBlock) => {
            Err(Error::new(ErrorKind::Conflict, "another process gets this file; wait for it")
                .with("file", part.display()))
        }
        Err(TryLockError::Error(e)) => Err(unwritable(part, e)),
    }
}

pub(super) fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the cache folder cannot be written; check its rights and the free space")
        .with("path", path.display())
        .retryable(false)
        .caused_by(error)
}

pub(super) fn unreachable(error: reqwest::Error, name: &str) -> Error {
    // The address may carry a key, so it stays out.
    Error::new(ErrorKind::Unavailable, "the server cannot be reached").with("file", name).caused_by(error.without_url())
}

pub(super) fn refused(status: StatusCode, name: &str) -> Error {
    let (kind, message) = match status.as_u16() {
        401 | 403 => (ErrorKind::Unauthorized, "the server refuses the file; set HF_TOKEN if the model is gated"),
        404 | 410 => (ErrorKind::NotFound, "the server does not have the file"),
        429 => (ErrorKind::RateLimited, "the server asks to slow down; try later"),
        _ => (ErrorKind::Unavailable, "the server does not give the file"),
    };
    Error::new(kind, message).with("status", status.as_u16()).with("file", name)
}

pub(super) fn corrupt(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, message).during("pull")
}

fn size(file: &File) -> Result<u64> {
    file.metadata().map(|facts| facts.len()).map_err(|e| unwritable(Path::new(""), e))
}

fn start_over(file: &File) -> Result<u64> {
    file.set_len(0).map_err(|e| unwritable(Path::new(""), e))?;
    Ok(0)
}

fn range_begins_at(response: &Response, have: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()) == Some(have)
}
