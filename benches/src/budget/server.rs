//! A server that speaks OpenAI's chat format, fails as providers do, and keeps its own count of what it billed.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// Nano-dollars for a token.
#[derive(Clone, Copy)]
pub(crate) struct Prices {
    pub(crate) input: u64,
    pub(crate) output: u64,
}

pub(crate) struct Server {
    address: SocketAddr,
    book: Arc<Book>,
}

struct Book {
    prices: Prices,
    faulty: bool,
    requests: AtomicU64,
    faults: AtomicU64,
    billed: AtomicU64,
    /// Bills of whole answers, by the number of the call.
    completed: Mutex<HashMap<u64, Vec<u64>>>,
}

/// What happens to a request.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Answered,
    /// Refused with this status: not billed.
    Refused(u16),
    /// Read and billed, then the connection ends without a word.
    Dropped,
    /// Half of the answer, billed as far as it came.
    Cut,
    /// Read and billed; the answer never comes.
    Silent,
}

impl Server {
    pub(crate) fn start(prices: Prices, faulty: bool) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let book = Arc::new(Book {
            prices,
            faulty,
            requests: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            billed: AtomicU64::new(0),
            completed: Mutex::default(),
        });
        let of_thread = Arc::clone(&book);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let book = Arc::clone(&of_thread);
                // Killed clients break connections: that is their affair.
                let serve = move || drop(book.serve(stream));
                let _ = thread::Builder::new().stack_size(128 * 1024).spawn(serve);
            }
        });
        Ok(Self { address, book })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(crate) fn billed(&self) -> u64 {
        self.book.billed.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.book.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn faults(&self) -> u64 {
        self.book.faults.load(Ordering::SeqCst)
    }

    pub(crate) fn completed(&self) -> MutexGuard<'_, HashMap<u64, Vec<u64>>> {
        self.book.completed()
    }
}

impl Book {
    fn completed(&self) -> MutexGuard<'_, HashMap<u64, Vec<u64>>> {
        self.completed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection: requests one after the other.
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        while let Some(body) = read_request(&mut reader)? {
            let number = self.requests.fetch_add(1, Ordering::SeqCst);
            let fate = self.fate(number);
            if fate != Fate::Answered {
                self.faults.fetch_add(1, Ordering::SeqCst);
            }
            if !self.answer(&mut stream, &body, number, fate)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn fate(&self, number: u64) -> Fate {
        if !self.faulty {
            return Fate::Answered;
        }
        match mixed(number) % 100 {
            0..3 => Fate::Refused(429),
            3..5 => Fate::Refused(500),
            5..7 => Fate::Refused(503),
            7..9 => Fate::Dropped,
            9..13 => Fate::Cut,
            // Some, since each holds a call up for as long as it may take.
            13 if number.is_multiple_of(7) => Fate::Silent,
            _ => Fate::Answered,
        }
    }

    /// Answers, or does not; says whether the connection stays.
    fn answer(&self, stream: &mut TcpStream, body: &Value, number: u64, fate: Fate) -> io::Result<bool> {
        if let Fate::Refused(status) = fate {
            let text = r#"{"error": {"message": "not now", "type": "server_error"}}"#;
            let head = format!(
                "HTTP/1.1 {status} No\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                text.len()
            );
            stream.write_all(format!("{head}{text}").as_bytes())?;
            return Ok(true);
        }
        let prompt = body["messages"].as_array().into_iter().flatten().filter_map(|m| m["content"].as_str());
        let prompt: String = prompt.collect();
        // Fewer than one in three bytes, as real tokenizers count in plain text.
        let input = (prompt.len() as u64).div_ceil(4) + 3;
        let most = body["max_tokens"].as_u64().or(body["max_completion_tokens"].as_u64()).unwrap_or(1000);
        let output = 1 + mixed(number ^ 0x5555) % most;
        // Billed before a byte is sent: a client that dies never hears of it.
        let written = match fate {
            Fate::Cut => output / 2,
            Fate::Dropped | Fate::Silent => 0,
            _ => output,
        };
        let bill = input * self.prices.input + written * self.prices.output;
        self.billed.fetch_add(bill, Ordering::SeqCst);
        match fate {
            Fate::Dropped => return Ok(false),
            Fate::Silent => {
                thread::sleep(Duration::from_secs(5));
                return Ok(false);
            }
            _ => {}
        }
        let call = prompt.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        let mut events = String::new();
        for _ in 0..written {
            events += "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"tok \"}}]}\n\n";
        }
        if fate == Fate::Answered {
            self.completed().entry(call).or_default().push(bill);
            let usage = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
            let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
            let last = json!({"choices": [], "usage": usage});
            events.extend(["data: ", &end.to_string(), "\n\ndata: ", &last.to_string(), "\n\ndata: [DONE]\n\n"]);
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(format!("{head}{:x}\r\n{events}\r\n", events.len()).as_bytes())?;
        if fate == Fate::Answered {
            stream.write_all(b"0\r\n\r\n")?;
        }
        Ok(fate == Fate::Answered)
    }
}

/// The body of the next request; none at the end of the connection.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Value>> {
    let (mut length, mut line) = (0, String::new());
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    loop {
        line.clear();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body).ok())
}

/// A number that looks random (the finalizer of SplitMix64), the same in every run.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
