//! `triune check`: reads every value of a folder in a process of its own, since a damaged page can end one.

use std::{ffi::OsString, path::PathBuf, process::Command, time::Duration};

use clap::Args;

use super::print::{say, tell};
use crate::{
    error::{Error, ErrorKind, Result},
    recall::check_recall,
    runtime::blocking,
    store::{CheckReport, Store, StoreConfig, check_here, check_in},
};

/// The longest that reading a folder may take.
const LIMIT: Duration = Duration::from_hours(6);

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The folder.
    folder: PathBuf,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
    /// Reads in this process.
    #[arg(long, hide = true)]
    here: bool,
}

impl Check {
    /// Checks the folder; `program` starts this command again.
    pub(super) async fn run(self, program: Vec<OsString>) -> Result<()> {
        let (json, here) = (self.json, self.here);
        let report = blocking(move || if self.here { self.read() } else { self.apart(&program) }).await?;
        if json || here {
            say(&as_json(&report)?)?;
        } else {
            describe(&report)?;
        }
        if report.ok || here {
            return Ok(());
        }
        let message = if report.damaged > 0 {
            "the store is damaged; restore the folder from a backup"
        } else {
            "tables do not agree with each other; export what is in the namespaces, forget them and import it again, by \
             which all that is derived is made anew, or restore the folder from a backup"
        };
        Err(Error::new(ErrorKind::Corrupt, message))
    }

    /// Reads everything, here.
    fn read(&self) -> Result<CheckReport> {
        // Open for both.
        let store = Store::open_existing(&self.folder, &StoreConfig::default())?;
        let mut report = check_here(&self.folder)?;
        check_recall(&store, &mut report)?;
        Ok(report)
    }

    fn apart(&self, program: &[OsString]) -> Result<CheckReport> {
        let (first, rest) = program.split_first().ok_or_else(|| Error::unexpected("no program to check with"))?;
        let mut command = Command::new(first);
        command.args(rest).arg("check").arg("--here").arg(&self.folder);
        check_in(&mut command, LIMIT)
    }
}

fn as_json(report: &CheckReport) -> Result<String> {
    serde_json::to_string(report).map_err(|e| Error::unexpected("a report has no JSON form").caused_by(e))
}

fn describe(report: &CheckReport) -> Result<()> {
    let rows: u64 = report.rows.values().sum();
    let (damaged, inconsistent) = (report.damaged, report.inconsistent);
    say(&format!("{rows} values are sound, {damaged} are damaged; tables do not agree in {inconsistent} places"))?;
    report.problems.iter().for_each(|problem| tell(problem));
    Ok(())
}
