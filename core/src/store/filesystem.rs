//! On which file systems a store can live: a memory map shared by processes needs a local one.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// Refuses file systems that live on another machine.
#[cfg(target_os = "linux")]
pub(super) fn check_local(folder: &Path) -> Result<()> {
    let found = rustix::fs::statfs(folder).map_err(|e| {
        Error::new(ErrorKind::Unavailable, "the file system of the folder cannot be looked at")
            .with("folder", folder.display())
            .caused_by(e)
    })?;
    // The type is a signed or an unsigned word, by platform; it has 32 bits on all.
    let remote = match found.f_type as u32 {
        0x6969 => Some("nfs"),
        0x517b => Some("smb"),
        0xff53_4d42 => Some("cifs"),
        0xfe53_4d42 => Some("smb2"),
        0x5346_414f => Some("afs"),
        0x00c3_6400 => Some("ceph"),
        0x0bd0_0bd0 => Some("lustre"),
        FUSE => remote_fuse(folder),
        _ => None,
    };
    remote.map_or(Ok(()), |name| Err(refused(folder, name)))
}

#[cfg(target_os = "linux")]
const FUSE: u32 = 0x6573_5546;

/// File systems of user space that live on another machine. Others (an overlay, a local disk) are local.
#[cfg(target_os = "linux")]
const REMOTE_FUSE: &[&str] = &[
    "sshfs",
    "s3fs",
    "rclone",
    "gcsfuse",
    "goofys",
    "mount-s3",
    "mountpoint-s3",
    "davfs2",
    "glusterfs",
    "blobfuse",
    "blobfuse2",
    "cephfs",
    "curlftpfs",
    "juicefs",
];

#[cfg(target_os = "linux")]
fn remote_fuse(folder: &Path) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt;
    let device = std::fs::metadata(folder).ok()?.dev();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    remote_fuse_in(&mounts, &device)
}

/// The remote file system of `device` in the text of `mountinfo`: fields, with the device third, then ` - `, then the
/// type, such as `fuse.sshfs`.
#[cfg(target_os = "linux")]
fn remote_fuse_in(mounts: &str, device: &str) -> Option<&'static str> {
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some(device))?;
    let kind = mount.split_once(" - ")?.1.split(' ').next()?;
    let name = kind.strip_prefix("fuse.")?;
    REMOTE_FUSE.iter().find(|known| **known == name).copied()
}

/// LMDB itself fails on most file systems that are not local.
#[cfg(not(target_os = "linux"))]
pub(super) fn check_local(_folder: &Path) -> Result<()> {
    Ok(())
}

#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "file systems are told apart on Linux"))]
fn refused(folder: &Path, name: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "the folder is on a network file system, where several machines would damage it; use a folder on a local disk, \
         or a server by its URL",
    )
    .with("folder", folder.display())
    .with("file_system", name)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_is_local() {
        check_local(tempfile::tempdir().unwrap().path()).unwrap();
    }

    #[test]
    fn only_fuse_over_the_network_is_remote() {
        let mounts = "36 35 98:0 / /a rw,noatime - ext4 /dev/root rw\n\
                      40 35 0:50 / /b rw - fuse.sshfs me@host:/ rw\n\
                      41 35 0:51 / /c rw shared:1 - fuse.fuse-overlayfs fuse-overlayfs rw\n";
        let found = ["98:0", "0:50", "0:51", "0:52"].map(|device| remote_fuse_in(mounts, device));
        assert_eq!(found, [None, Some("sshfs"), None, None]);
    }
}
