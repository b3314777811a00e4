//! What the engine does with whole namespaces.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use super::{
    ExportReport, ExportRequest, ImportReport, ImportRequest, NamespaceStatistics, RecallEngine, export,
    import::{Batch, Lines},
    namespace::{self, scoped},
    statistics,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    runtime::blocking,
    store::Job,
};

impl RecallEngine {
    /// What a namespace holds, and how much room that takes. All of its rows are passed by: a second for a million or so.
    ///
    /// # Errors
    /// `NotFound` for an unknown namespace.
    pub async fn statistics(&self, cx: &Context, namespace: &str) -> Result<NamespaceStatistics> {
        self.ready().await?;
        let (store, config, call) = (self.store_of().clone(), self.config().clone(), cx.clone());
        let scoped = scoped(cx, namespace)?;
        let look = move || {
            store.read(|read| {
                let known = namespace::find(read, &scoped)?.ok_or_else(unknown)?;
                statistics::read(&call, &config, read, (&scoped, &known))
            })
        };
        cx.run(blocking(look)).await
    }

    /// Writes items and relations as lines of JSON, all as they are at this moment; they can be read in again by
    /// [`import`](Self::import). Reads and writes go on meanwhile; only growth of the folder waits.
    ///
    /// Each line is an object with one name: `namespace` (what follows is of it, and what embedded it), `item` (all its
    /// fields, and its vectors when wanted), `version` (what an item was before it was replaced) or `relation`.
    ///
    /// # Errors
    /// `NotFound` for an unknown namespace, `Unavailable` when `out` fails.
    pub async fn export(
        &self,
        cx: &Context,
        request: ExportRequest,
        out: impl Write + Send + 'static,
    ) -> Result<ExportReport> {
        self.ready().await?;
        let one = request.namespace.as_deref().map(|name| scoped(cx, name)).transpose()?;
        let tenant = namespace::check_tenant(cx)?.to_owned();
        let (store, config, call) = (self.store_of().clone(), self.config().clone(), cx.clone());
        let mut out = BufWriter::with_capacity(1 << 16, out);
        cx.run(blocking(move || {
            store.read(|read| {
                let scoped = match one {
                    Some(name) if namespace::find(read, &name)?.is_none() => {
                        return Err(Error::not_found(
                            "there is no such namespace; see `namespaces` for those there are",
                        ));
                    }
                    Some(name) => vec![name],
                    None => namespace::scoped_names(read, &tenant)?,
                };
                export::export(&call, &config, read, (&scoped, request.vectors), &mut out)
            })
        }))
        .await
    }

    /// As [`export`](Self::export), into a file: it is there when it is whole, for its owner only.
    ///
    /// # Errors
    /// Those of [`export`](Self::export).
    pub async fn export_to(&self, cx: &Context, request: ExportRequest, path: &Path) -> Result<ExportReport> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = Path::new(&part);
        let failed = |e| file_error("the export cannot be written; check the path, space and permissions", path, e);
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(part).map_err(failed)?;
        let kept = file.try_clone().map_err(failed)?;
        let exported = self.export(cx, request, file).await;
        let placed = exported.and_then(|report| {
            kept.sync_all().and_then(|()| fs::rename(part, path)).map_err(failed)?;
            Ok(report)
        });
        if placed.is_err() {
            let _ = fs::remove_file(part);
        }
        placed
    }

    /// Reads lines of JSON in, as [`export`](Self::export) writes them; or such as [`store`](Self::store) takes. An item
    /// is put in the place of the one with its id; one that is there just so is left alone, so that an import which was
    /// interrupted goes on where it ended. Items keep the time they were stored at, and their vectors where the embedder
    /// is the same; else they are embedded.
    ///
    /// Some hundred lines are one transaction: what comes before a bad line stays.
    ///
    /// # Errors
    /// `Invalid` for a line that is none, or when lines are missing at the end; `Unsupported` for those of a newer
    /// version; `Conflict` when a namespace was embedded by another embedder; what [`store`](Self::store) returns. The
    /// number of the line is told.
    pub async fn import(
        &self,
        cx: &Context,
        request: ImportRequest,
        input: impl BufRead + Send + 'static,
    ) -> Result<ImportReport> {
        self.ready().await?;
        let mut lines = Lines::new(input, request);
        let mut report = ImportReport::default();
        loop {
            cx.check()?;
            let (next, rest) = blocking(move || Ok((lines.next(), lines))).await?;
            lines = rest;
            let Some(batch) = next? else { return Ok(report) };
            report.add(self.import_batch(cx, batch).await?);
        }
    }

    /// As [`import`](Self::import), from a file.
    ///
    /// # Errors
    /// `NotFound` when there is no such file, and those of [`import`](Self::import).
    pub async fn import_from(&self, cx: &Context, request: ImportRequest, path: &Path) -> Result<ImportReport> {
        let file = File::open(path).map_err(|e| file_error("the file cannot be read; check its path", path, e))?;
        self.import(cx, request, BufReader::with_capacity(1 << 16, file)).await
    }

    async fn import_batch(&self, cx: &Context, mut batch: Batch) -> Result<ImportReport> {
        let names = batch.scope(cx)?;
        let embedder = self.router().embedder().ok();
        let (store, current) =
            (self.store_of().clone(), embedder.as_ref().map(|embedder| embedder.profile().id.clone()));
        let (batch, unchanged) = blocking(move || {
            let unchanged = store.read(|read| batch.compare(read, current.as_deref()))?;
            Ok((batch, unchanged))
        })
        .await?;
        let ready = Arc::new(batch.prepare(cx, self.config(), embedder).await?);
        let (rows, config) = (Arc::clone(&ready), self.config().clone());
        let job: Job = Box::new(move |write| rows.write(write, &config));
        self.store_of().commit(vec![job]).await?;
        for name in names {
            self.index_if_due(&name);
        }
        Ok(ImportReport { unchanged, ..ready.report })
    }
}

fn unknown() -> Error {
    Error::not_found("there is no such namespace; see `namespaces` for those there are")
}

fn file_error(message: &str, path: &Path, cause: std::io::Error) -> Error {
    let missing = cause.kind() == std::io::ErrorKind::NotFound;
    let kind = if missing { ErrorKind::NotFound } else { ErrorKind::Unavailable };
    Error::new(kind, message).with("path", path.display()).caused_by(cause)
}
