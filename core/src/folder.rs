//! What a program asks of its folder as a whole. It names files of the machine, and is no engine for that: whoever may ask
//! an engine, such as a model that plans, may not write files.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    context::Context,
    error::Result,
    recall::{ExportReport, ExportRequest, ImportReport, ImportRequest, RecallEngine},
    store::Store,
};

/// What is asked of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FolderRequest {
    /// Copies all of it into another folder while it is used: see [`Store::backup_to`].
    Backup {
        /// Made when it is not there; must not have a store.
        to: PathBuf,
    },
    /// Writes namespaces into a file as lines of JSON: see [`RecallEngine::export`].
    Export {
        /// The file; one that is there is replaced.
        to: PathBuf,
        /// What is written.
        #[serde(flatten)]
        what: ExportRequest,
    },
    /// Reads lines of JSON in from a file: see [`RecallEngine::import`].
    Import {
        /// The file.
        from: PathBuf,
        /// How it is read.
        #[serde(flatten)]
        how: ImportRequest,
    },
}

/// What a folder answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum FolderReply {
    /// To `backup`.
    Done {},
    /// To `export`.
    Exported(ExportReport),
    /// To `import`.
    Imported(ImportReport),
}

pub(crate) async fn ask(
    cx: &Context,
    (recall, store): (&RecallEngine, &Store),
    request: FolderRequest,
) -> Result<FolderReply> {
    Ok(match request {
        FolderRequest::Backup { to } => {
            cx.run(store.backup_to(&to)).await?;
            FolderReply::Done {}
        }
        FolderRequest::Export { to, what } => FolderReply::Exported(recall.export_to(cx, what, &to).await?),
        FolderRequest::Import { from, how } => FolderReply::Imported(recall.import_from(cx, how, &from).await?),
    })
}
