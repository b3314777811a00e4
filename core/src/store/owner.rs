//! Which process something belongs to, and whether it still lives.

use std::{fs, sync::LazyLock};

use serde::{Deserialize, Serialize};

/// Names this process among all that ever were.
static PROCESS: LazyLock<String> = LazyLock::new(|| uuid::Uuid::now_v7().simple().to_string());

/// A process, so described that another one on the same machine can tell whether it still lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    process: String,
    pid: u32,
    /// The boot of the machine; empty where it cannot be known.
    boot: String,
    /// The space in which `pid` counts: containers each have their own.
    space: String,
    /// When the process started, in ticks since the boot; a later process may have the same `pid`.
    started: u64,
}

impl Owner {
    /// This process.
    pub(crate) fn me() -> Self {
        let pid = std::process::id();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let space = fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
        let started = stat(pid).map_or(0, |(_, started)| started);
        Self { process: PROCESS.clone(), pid, boot: boot.trim().to_owned(), space, started }
    }

    /// Whether it is this process. A forked child is another one.
    pub(crate) fn is_me(&self) -> bool {
        self.process == *PROCESS && self.pid == std::process::id()
    }

    /// Whether it is of another boot than this process. A folder is open on one machine only, so that machine has started
    /// anew since.
    pub(crate) fn is_of_another_boot(&self) -> bool {
        let now = Self::me().boot;
        !self.boot.is_empty() && !now.is_empty() && self.boot != now
    }

    /// Whether the process has certainly ended. False where that cannot be told: then its lease counts.
    pub(crate) fn is_gone(&self) -> bool {
        let me = Self::me();
        if self.boot.is_empty() || self.space.is_empty() || self.boot != me.boot || self.space != me.space {
            return false;
        }
        match stat(self.pid) {
            // A killed process stays as a zombie until its parent looks.
            Some((state, started)) => matches!(state, 'Z' | 'X') || (self.started != 0 && started != self.started),
            None => i32::try_from(self.pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
                .is_some_and(|pid| matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH))),
        }
    }
}

/// State and start time of a process, from its status line (see `man 5 proc_pid_stat`).
fn stat(pid: u32) -> Option<(char, u64)> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything, brackets too; the state follows it.
    let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives() {
        let me = Owner::me();
        assert!(me.is_me() && !me.is_gone());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_ended_process_is_gone_even_before_its_parent_looks() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let owner = Owner { process: "other".into(), pid: child.id(), started: 0, ..Owner::me() };
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !owner.is_gone() {
            assert!(std::time::Instant::now() < end, "the child has ended but counts as alive");
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(owner.is_gone());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_reused_pid_and_another_machine_are_told_apart() {
        let reused = Owner { process: "other".into(), started: 1, ..Owner::me() };
        assert!(reused.is_gone(), "the process with this pid started at another time");
        let elsewhere = Owner { boot: "another boot".into(), ..reused };
        assert!(!elsewhere.is_gone(), "nothing is known of another machine");
        assert!(elsewhere.is_of_another_boot() && !Owner::me().is_of_another_boot());
    }
}
