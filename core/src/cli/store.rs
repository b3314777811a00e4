//! `triune backup`, `restore`, `compact` and `stats`: what is done with a folder as a whole.

use std::path::PathBuf;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::HumanBytes;
use serde::Serialize;

use super::print::say;
use crate::{
    context::Context,
    error::{Error, Result},
    recall::{NamespaceStatistics, recall_statistics},
    runtime::blocking,
    store::{self, CheckReport, Store, StoreConfig, StoreStatistics},
};

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The folder of the store; programs may go on to use it meanwhile.
    folder: PathBuf,
    /// The folder to copy it into; made when it is not there, and must not have a store.
    to: PathBuf,
    /// Prints what was copied as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The folder that a backup was made into, or the file in it.
    backup: PathBuf,
    /// The folder to restore it into; made when it is not there. Nobody may have it open.
    folder: PathBuf,
    /// Puts the backup in the place of the store that is there; it is gone then.
    #[arg(long)]
    replace: bool,
    /// Prints what was restored as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Compact {
    /// The folder of the store. Nobody may have it open; as much room again as it takes must be free on its disk.
    folder: PathBuf,
    /// Prints the sizes as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Stats {
    /// The folder of the store; programs may go on to use it meanwhile.
    folder: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// What `stats` says.
#[derive(Debug, Serialize)]
struct Statistics {
    store: StoreStatistics,
    namespaces: Vec<NamespaceStatistics>,
}

// A copy that is interrupted leaves nothing that bears the name of a store: nobody has to wait for its end.

impl Backup {
    pub(super) async fn run(self, cx: &Context) -> Result<()> {
        let (folder, to) = (self.folder, self.to.clone());
        let report = cx.run(blocking(move || store::backup(&folder, &to))).await?;
        told(self.json, &report, || format!("{} are in {}", values(&report), self.to.display()))
    }
}

impl Restore {
    pub(super) async fn run(self, cx: &Context) -> Result<()> {
        let (backup, folder, replace) = (self.backup, self.folder.clone(), self.replace);
        let report = cx.run(blocking(move || store::restore(&backup, &folder, replace))).await?;
        told(self.json, &report, || format!("{} were restored into {}", values(&report), self.folder.display()))
    }
}

impl Compact {
    pub(super) async fn run(self, cx: &Context) -> Result<()> {
        let folder = self.folder;
        let sizes = cx.run(blocking(move || store::compact(&folder))).await?;
        told(self.json, &sizes, || format!("{} became {}", HumanBytes(sizes.before), HumanBytes(sizes.after)))
    }
}

impl Stats {
    pub(super) async fn run(self, cx: &Context) -> Result<()> {
        let folder = self.folder;
        let look = move || {
            let store = Store::open_existing(&folder, &StoreConfig::default())?;
            Ok(Statistics { store: store.statistics()?, namespaces: recall_statistics(&store)? })
        };
        let found = cx.run(blocking(look)).await?;
        told(self.json, &found, || described(&found))
    }
}

fn values(report: &CheckReport) -> String {
    format!("{} values", report.rows.values().sum::<u64>())
}

fn described(Statistics { store: found, namespaces }: &Statistics) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["TABLE", "ROWS", "SIZE"]);
    for (name, of_table) in &found.tables {
        table.add_row([name.clone(), of_table.rows.to_string(), HumanBytes(of_table.bytes).to_string()]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let (bytes, free) = (HumanBytes(found.bytes), HumanBytes(found.free));
    let mut said = format!("{table}\n{bytes}, of which {free} are free; layout {}", found.schema);
    if !namespaces.is_empty() {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["NAMESPACE", "ITEMS", "VECTORS", "RELATIONS", "WORDS", "INDEX", "SIZE", "EMBEDDER"]);
        for of in namespaces {
            let tenant = if of.tenant.is_empty() { String::new() } else { format!("{}/", of.tenant) };
            let counts = [of.items, of.vectors, of.relations, of.terms].map(|count| count.to_string());
            let [items, vectors, relations, terms] = counts;
            let (name, size) = (format!("{tenant}{}", of.namespace), HumanBytes(of.bytes.values().sum()).to_string());
            let embedder = of.embedder.clone().unwrap_or_default();
            table.add_row([name, items, vectors, relations, terms, of.index.kind.clone(), size, embedder]);
        }
        said.push_str("\n\n");
        said.push_str(&table.to_string());
    }
    said
}

/// Says `value` as JSON, or in words.
fn told(json: bool, value: &impl Serialize, words: impl FnOnce() -> String) -> Result<()> {
    if !json {
        return say(&words());
    }
    let json = serde_json::to_string(value)
        .map_err(|e| Error::unexpected("what is to be said has no JSON form").caused_by(e))?;
    say(&json)
}
