//! A provider that misbehaves on purpose, over plain TCP: a framework cannot reset a connection before its headers, fall
//! silent with the socket open, or leave a chunked body without its last chunk. It speaks OpenAI's chat completions and
//! Anthropic's messages; the name of the model says what goes wrong.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What every healthy model answers: sixty words, so that no part of it passes for the whole.
pub const ANSWER: &str = "Sixty words are enough to tell a whole answer from one that was cut, and few enough to send \
    soon. Each word travels alone, so a line that breaks takes the rest with it. Who reads until the end knows \
    that nothing is missing, nothing came twice, and that the last sentence stands where its author wanted it to stand.";

/// How long faults take.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Before the first token of the slow one.
    pub slow_first: Duration,
    /// In the middle of a stream.
    pub stall: Duration,
    /// Without any answer.
    pub silent: Duration,
    /// After the start, of the one that comes back.
    pub down: Duration,
    /// Between two tokens.
    pub token: Duration,
}

impl Pace {
    /// The published times of FailoverBench, all multiplied by `scale`.
    pub fn scaled(scale: f64) -> Self {
        let seconds = |seconds: f64| Duration::from_secs_f64(seconds * scale);
        Self {
            slow_first: seconds(20.0),
            stall: seconds(30.0),
            silent: seconds(120.0),
            down: seconds(60.0),
            token: seconds(0.015),
        }
    }
}

/// One request that reached the server.
#[derive(Clone, Debug)]
pub struct Logged {
    pub model: String,
    pub at: Duration,
    /// The key that came with it.
    pub key: String,
    /// Who said the last message.
    pub last_role: String,
    /// Whether the answer was begun with a good status.
    pub good: bool,
    pub refused_prefill: bool,
}

#[derive(Debug)]
struct Shared {
    pace: Pace,
    started: Instant,
    log: Mutex<Vec<Logged>>,
    counts: Mutex<HashMap<String, u32>>,
}

/// A running server. It ends with its runtime.
#[derive(Clone, Debug)]
pub struct FaultServer {
    /// With `/v1`.
    pub url: String,
    shared: Arc<Shared>,
}

impl FaultServer {
    pub async fn start(pace: Pace) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let started = Instant::now();
        let shared = Arc::new(Shared { pace, started, log: Mutex::default(), counts: Mutex::default() });
        let server = Self { url, shared: Arc::clone(&shared) };
        spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).unwrap();
                let mut connection = Connection { socket, read: Vec::new(), shared: Arc::clone(&shared) };
                spawn(async move { while connection.serve().await.unwrap_or(false) {} });
            }
        });
        server
    }

    pub fn log(&self) -> Vec<Logged> {
        self.shared.log.lock().unwrap().clone()
    }

    /// Times at which `model` was asked.
    pub fn asked(&self, model: &str) -> Vec<Duration> {
        self.log().into_iter().filter(|logged| logged.model == model).map(|logged| logged.at).collect()
    }
}

#[allow(clippy::disallowed_methods, reason = "the server of a test has no runtime of triune to close")]
fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(work));
}

/// A request as it came.
struct Asked {
    path: String,
    key: String,
    body: Value,
}

struct Connection {
    socket: TcpStream,
    read: Vec<u8>,
    shared: Arc<Shared>,
}

/// A fault in the middle of a stream.
#[derive(Clone, Copy, PartialEq)]
enum Break {
    None,
    Cut(usize),
    Stall(usize),
    Malformed(usize),
    Error(usize),
    NoDone,
    NoFinish,
    Finish(&'static str),
    /// After the reason to end nothing comes: the connection stays open, or is reset.
    Open,
    Reset,
    /// The words are arguments of a tool call.
    Called,
}

impl Connection {
    /// Answers one request; says whether another may follow on the connection.
    async fn serve(&mut self) -> std::io::Result<bool> {
        let Some(asked) = self.request().await? else { return Ok(false) };
        let model = asked.body["model"].as_str().unwrap_or_default().to_owned();
        let last = asked.body["messages"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
        let last_role = last["role"].as_str().unwrap_or_default().to_owned();
        let at = self.shared.started.elapsed();
        let attempt = {
            let mut counts = self.shared.counts.lock().unwrap();
            let count = counts.entry(model.clone()).or_default();
            *count += 1;
            *count
        };
        let refused_prefill = model.contains("noprefill") && last_role == "assistant";
        let entry = {
            let mut log = self.shared.log.lock().unwrap();
            let key = asked.key.clone();
            log.push(Logged {
                model: model.clone(),
                at,
                key,
                last_role: last_role.clone(),
                good: false,
                refused_prefill,
            });
            log.len() - 1
        };
        if asked.path.ends_with("/embeddings") {
            return self.embed(&asked.body).await;
        }
        let anthropic = asked.path.ends_with("/messages");
        let pace = self.shared.pace;
        let fault = model.split('-').next().unwrap_or_default();
        let down = at < self.shared.pace.down;
        let refusal = if refused_prefill {
            Some((400, "invalid_prefill", "the last message is not the user's", ""))
        } else {
            refusal(fault, attempt, down, &asked.key)
        };
        if let Some((status, code, message, header)) = refusal {
            let error = json!({ "type": "error", "error": { "message": message, "type": code, "code": code } });
            return self.whole(status, header, &error).await;
        }
        match fault {
            "s05" if attempt == 1 => {
                // Without lingering, closing is a reset.
                self.socket.set_zero_linger()?;
                return Ok(false);
            }
            "s06" => {
                tokio::select! {
                    () = tokio::time::sleep(pace.silent) => {}
                    _ = self.socket.read_u8() => {}
                }
                return Ok(false);
            }
            "jsonerror" => {
                let error = json!({ "error": { "message": "overloaded", "type": "overloaded_error", "code": 503 } });
                return self.whole(200, "", &error).await;
            }
            _ => {}
        }
        self.shared.log.lock().unwrap()[entry].good = true;
        let said = last["content"].as_str().unwrap_or_default().trim_end();
        let continued = last_role == "assistant" && !said.is_empty() && ANSWER.starts_with(said);
        // A form is kept to: the same as a text of JSON.
        let in_json = format!("\"{ANSWER}\"");
        let text = match fault {
            "empty" | "thought" | "filtered" => "",
            _ if !asked.body["response_format"].is_null() => &in_json,
            _ if continued => &ANSWER[said.len()..],
            _ => ANSWER,
        };
        self.head(200, "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n").await?;
        if fault == "bom" {
            self.socket.write_all(b"2\r\n\xEF\xBB\r\n1\r\n\xBF\r\n").await?;
        }
        if fault == "s07" {
            tokio::time::sleep(pace.slow_first).await;
        }
        // As tokens are: the blank stands before the word.
        let blanks = text.match_indices(' ').map(|(at, _)| at).chain([text.len()]);
        let ends = blanks.filter(|at| *at > 0);
        let words: Vec<_> = ends.scan(0, |from, to| Some(&text[std::mem::replace(from, to)..to])).collect();
        self.stream(&asked.body, anthropic, &words, broken(fault)).await
    }

    async fn stream(&mut self, body: &Value, anthropic: bool, words: &[&str], broken: Break) -> std::io::Result<bool> {
        let pace = self.shared.pace;
        let read = body["messages"].to_string().len() / 4;
        if anthropic {
            let usage = json!({ "input_tokens": read, "output_tokens": 1 });
            self.event(&json!({ "type": "message_start", "message": { "usage": usage } })).await?;
        } else {
            self.event(&chunk(body, &json!({ "role": "assistant", "content": "" }), None)).await?;
        }
        for (at, word) in words.iter().enumerate() {
            match broken {
                Break::Cut(after) if at == after => return Ok(false),
                Break::Stall(after) if at == after => {
                    tokio::time::sleep(pace.stall).await;
                    return Ok(false);
                }
                Break::Error(after) if at == after => {
                    let error = json!({ "type": "overloaded_error", "message": "overloaded" });
                    self.event(&json!({ "type": "error", "error": error })).await?;
                    return Ok(false);
                }
                Break::Malformed(after) if at == after => {
                    self.raw_event("{\"choices\": [{\"delta\": {\"content\": ").await?;
                }
                _ => {}
            }
            if broken == Break::Called {
                let word = format!(
                    "{}{word}{}",
                    if at == 0 { "{\"q\": \"" } else { "" },
                    if at + 1 == words.len() { "\"}" } else { "" }
                );
                self.arguments(body, anthropic, at == 0, &word).await?;
            } else if anthropic {
                let delta = json!({ "type": "text_delta", "text": word });
                self.event(&json!({ "type": "content_block_delta", "index": 0, "delta": delta })).await?;
            } else {
                self.event(&chunk(body, &json!({ "content": word }), None)).await?;
            }
            if !pace.token.is_zero() {
                tokio::time::sleep(pace.token).await;
            }
        }
        let finish = match broken {
            Break::NoFinish => return self.end().await,
            Break::Finish(reason) => reason,
            _ => "stop",
        };
        if matches!(broken, Break::Open | Break::Reset) {
            let delta = json!({ "stop_reason": "end_turn" });
            let last = if anthropic {
                json!({ "type": "message_delta", "delta": delta })
            } else {
                chunk(body, &json!({}), Some(finish))
            };
            self.event(&last).await?;
            if broken == Break::Open {
                tokio::time::sleep(pace.silent).await;
            } else {
                // What was written is read before the connection is gone.
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.socket.set_zero_linger()?;
            }
            return Ok(false);
        }
        if anthropic {
            let reasons =
                HashMap::from([("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal")]);
            let (delta, usage) = (json!({ "stop_reason": reasons[finish] }), json!({ "output_tokens": words.len() }));
            self.event(&json!({ "type": "message_delta", "delta": delta, "usage": usage })).await?;
            self.event(&json!({ "type": "message_stop" })).await?;
        } else {
            self.event(&chunk(body, &json!({}), Some(finish))).await?;
            let usage =
                json!({ "prompt_tokens": read, "completion_tokens": words.len(), "total_tokens": read + words.len() });
            let mut last = chunk(body, &json!({}), None);
            (last["choices"], last["usage"]) = (json!([]), usage);
            self.event(&last).await?;
            if broken != Break::NoDone {
                self.raw_event("[DONE]").await?;
            }
        }
        self.end().await
    }

    async fn arguments(&mut self, body: &Value, anthropic: bool, first: bool, piece: &str) -> std::io::Result<()> {
        if anthropic {
            if first {
                let block = json!({ "type": "tool_use", "id": "c", "name": "find", "input": {} });
                self.event(&json!({ "type": "content_block_start", "index": 0, "content_block": block })).await?;
            }
            let delta = json!({ "type": "input_json_delta", "partial_json": piece });
            return self.event(&json!({ "type": "content_block_delta", "index": 0, "delta": delta })).await;
        }
        let mut call = json!({ "index": 0, "function": { "arguments": piece } });
        if first {
            (call["id"], call["function"]["name"]) = (json!("c"), json!("find"));
        }
        self.event(&chunk(body, &json!({ "tool_calls": [call] }), None)).await
    }

    /// One vector a text. No text may have more than a hundred tokens: a token a byte for digits, in three for the rest.
    async fn embed(&mut self, body: &Value) -> std::io::Result<bool> {
        let texts: Vec<_> = body["input"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let tokens = |text: &&str| {
            let digits = text.bytes().filter(u8::is_ascii_digit).count();
            digits + (text.len() - digits) / 3
        };
        if texts.iter().map(tokens).any(|tokens| tokens > 100) {
            let message = "This model's maximum context length is 100 tokens";
            return self
                .whole(400, "", &json!({ "error": { "message": message, "type": "invalid_request_error" } }))
                .await;
        }
        let data: Vec<_> = (0..texts.len()).map(|index| json!({ "index": index, "embedding": [1.0, 0.0] })).collect();
        let total: usize = texts.iter().map(tokens).sum();
        self.whole(200, "", &json!({ "data": data, "usage": { "prompt_tokens": total } })).await
    }

    async fn request(&mut self) -> std::io::Result<Option<Asked>> {
        let head_end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if self.socket.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&self.read[..head_end]).into_owned();
        let header = |name: &str| {
            let found = head.lines().skip(1).filter_map(|line| line.split_once(':'));
            found.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).next()
        };
        let length: usize = header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
        while self.read.len() < head_end + 4 + length {
            if self.socket.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        }
        let body = serde_json::from_slice(&self.read[head_end + 4..head_end + 4 + length]).unwrap_or_default();
        self.read.drain(..head_end + 4 + length);
        let key = header("authorization").or_else(|| header("x-api-key")).unwrap_or_default();
        let key = key.trim_start_matches("Bearer ").to_owned();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        Ok(Some(Asked { path, key, body }))
    }

    async fn head(&mut self, status: u16, headers: &str) -> std::io::Result<()> {
        self.socket.write_all(format!("HTTP/1.1 {status} Status\r\n{headers}\r\n").as_bytes()).await
    }

    async fn whole(&mut self, status: u16, header: &str, body: &Value) -> std::io::Result<bool> {
        let body = body.to_string();
        let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n{header}", body.len());
        self.head(status, &headers).await?;
        self.socket.write_all(body.as_bytes()).await?;
        Ok(true)
    }

    async fn event(&mut self, event: &Value) -> std::io::Result<()> {
        self.raw_event(&event.to_string()).await
    }

    async fn raw_event(&mut self, data: &str) -> std::io::Result<()> {
        let event = format!("data: {data}\n\n");
        self.socket.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await
    }

    async fn end(&mut self) -> std::io::Result<bool> {
        self.socket.write_all(b"0\r\n\r\n").await?;
        Ok(true)
    }
}

/// Status, code, message and header with which `fault` refuses its n-th request, if it does.
fn refusal(
    fault: &str,
    attempt: u32,
    down: bool,
    key: &str,
) -> Option<(u16, &'static str, &'static str, &'static str)> {
    match fault {
        "s01" if attempt == 1 => Some((429, "rate_limit_exceeded", "slow down", "Retry-After: 2\r\n")),
        "s02" => Some((429, "rate_limit_exceeded", "slow down", "")),
        "s03" if attempt == 1 => Some((500, "server_error", "a fault", "")),
        "s04" | "s16" => Some((503, "overloaded", "overloaded", "")),
        "s12" => Some((400, "context_length_exceeded", "too long", "")),
        "s13" => Some((400, "content_policy_violation", "rejected by the safety system", "")),
        "s15" if down => Some((503, "overloaded", "overloaded", "")),
        "quota" => Some((429, "insufficient_quota", "You exceeded your current quota", "")),
        "unpaid" => Some((402, "payment_required", "no credits", "")),
        "limit" => Some((400, "invalid_request_error", "You have reached your specified API usage limits.", "")),
        "later" => Some((429, "rate_limit_exceeded", "slow down", "Retry-After: 3600\r\n")),
        "burst" if attempt <= 2 => Some((if attempt == 1 { 500 } else { 503 }, "server_error", "a fault", "")),
        "keyed" if key != "good" => Some(match key {
            "slow" => (429, "rate_limit_exceeded", "slow down", ""),
            "empty" => (429, "insufficient_quota", "no quota", ""),
            _ => (401, "invalid_api_key", "no such key", ""),
        }),
        _ => None,
    }
}

/// How the stream of `fault` breaks.
fn broken(fault: &str) -> Break {
    match fault {
        "s08" | "s14" => Break::Cut(40),
        "cut" => Break::Cut(12),
        "s09" => Break::Stall(20),
        "s10" => Break::Malformed(10),
        "s11" => Break::NoDone,
        "errors" => Break::Error(12),
        "nofinish" => Break::NoFinish,
        "open" => Break::Open,
        "reset" => Break::Reset,
        "called" => Break::Called,
        "thought" | "short" => Break::Finish("length"),
        "filtered" => Break::Finish("content_filter"),
        _ => Break::None,
    }
}

fn chunk(body: &Value, delta: &Value, finish: Option<&str>) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"],
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
    })
}
