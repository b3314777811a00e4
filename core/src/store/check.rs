//! Reading every value of a store, to see whether it is sound. A damaged page can end the process that reads it, so
//! the reading is done by a child process.

use std::{
    collections::BTreeMap,
    io::Read as _,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{Read, Store, StoreConfig, Table};
use crate::error::{Error, ErrorKind, Result};

/// Problems that are told; more are counted.
const TOLD: usize = 100;
/// Tables whose values are JSON throughout.
const JSON: &[&str] = &["namespaces", "words", "edges", "sessions"];

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// Whether everything is as it was written.
    pub ok: bool,
    /// What is not, and what to do; 100 at most.
    pub problems: Vec<String>,
    /// Values that are damaged.
    pub damaged: u64,
    /// Places where sound tables do not agree with each other: what is derived of an item is not what it should be.
    #[serde(default)]
    pub inconsistent: u64,
    /// Sound values, by table.
    pub rows: BTreeMap<String, u64>,
}

/// Reads every value of the store in `folder`, here. A damaged page can end this process by a signal: give it a
/// process of its own, which prints the report as JSON for [`check_in`].
///
/// # Errors
/// As [`Store::open`].
pub fn check_here(folder: &Path) -> Result<CheckReport> {
    let store = Store::open_existing(folder, &StoreConfig::default())?;
    let mut report = CheckReport { ok: true, ..CheckReport::default() };
    for table in store.0.environment.tables().checked() {
        // Each in a snapshot of its own: after an error of LMDB a transaction reads nothing more.
        let checked = store.read(|read| check_table(read, table, &mut report));
        checked.unwrap_or_else(|error| report.problem(|| format!("table {}: {}", table.name, error.message())));
    }
    Ok(report)
}

fn check_table(read: &Read<'_>, table: &Table, report: &mut CheckReport) -> Result<()> {
    let json = JSON.contains(&table.name);
    let mut sound = 0;
    // Ends with the first row that LMDB itself cannot read.
    for (at, row) in table.prefix(read.txn, b"")?.enumerate() {
        let row = row.and_then(|(_, value)| if json { table.parse::<IgnoredAny>(value).map(drop) } else { Ok(()) });
        match row {
            Ok(()) => sound += 1,
            Err(error) => report.problem(|| format!("table {}, row {at}: {}", table.name, error.message())),
        }
    }
    report.rows.insert(table.name.to_owned(), sound);
    Ok(())
}

impl CheckReport {
    /// Notes a place where tables do not agree.
    pub(crate) fn disagrees(&mut self, text: String) {
        self.ok = false;
        self.inconsistent += 1;
        if self.problems.len() < TOLD {
            self.problems.push(text);
        }
    }

    pub(super) fn problem(&mut self, text: impl FnOnce() -> String) {
        self.ok = false;
        self.damaged += 1;
        if self.problems.len() < TOLD {
            self.problems.push(text());
        }
    }
}

/// Runs `command`, a program that calls [`check_here`] and prints the report as JSON, and gives its report, or what
/// its end tells about the store. Blocks for as long as it runs, `limit` at most.
///
/// # Errors
/// `Timeout` when it takes longer, `Unavailable` when it cannot be run or failed for another reason than damage.
pub fn check_in(command: &mut Command, limit: Duration) -> Result<CheckReport> {
    let cannot = |e| Error::new(ErrorKind::Unavailable, "the program that checks the store cannot be run").caused_by(e);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(cannot)?;
    let output = child.stdout.take();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        output.map_or(Ok(0), |mut output| output.read_to_string(&mut text)).map(|_| text)
    });
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(cannot)? {
            break status;
        }
        if began.elapsed() >= limit {
            child.kill().map_err(cannot)?;
            child.wait().map_err(cannot)?;
            return Err(Error::new(
                ErrorKind::Timeout,
                "checking the store takes longer than allowed; allow more time",
            ));
        }
        thread::sleep(Duration::from_millis(10));
    };
    let text =
        reader.join().map_err(|_| Error::unexpected("reading the report of a check panicked"))?.map_err(cannot)?;
    report_of(status, &text)
}

fn report_of(status: ExitStatus, text: &str) -> Result<CheckReport> {
    if let Some(signal) = status.signal() {
        let name = match signal {
            6 => "SIGABRT",
            7 | 10 => "SIGBUS",
            11 => "SIGSEGV",
            9 => return Err(Error::new(ErrorKind::Unavailable, "the check was killed from outside; run it again")),
            _ => "a signal",
        };
        let mut report = CheckReport::default();
        report.problem(|| {
            format!("reading the store ended by {name} ({signal}): a page is damaged; restore the folder from a backup")
        });
        return Ok(report);
    }
    let report = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    report.ok_or_else(|| {
        Error::new(
            ErrorKind::Unavailable,
            "the program that checks the store gave no report; run it by hand to see why",
        )
        .with("exit_code", status.code().unwrap_or_default())
    })
}
