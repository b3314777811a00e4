//! A chat model in this process.

use std::{
    fmt,
    panic::resume_unwind,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use futures_util::stream;
use tokio::sync::mpsc;

use super::{
    answer::{Answer, Form},
    decoder::{Decoder, Part, Scores, Scratch},
    family,
    gguf::corrupt,
    grammar::Grammars,
    kernel::Pool,
    pages::{Memory, Pages},
    resident::{MemoryBudget, Resident},
    scheduler::{Limits, Scheduler, Writer},
    template::ChatTemplate,
    tokenizer::Tokenizer,
    tools::Tools,
    weights::Checkpoint,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{
        Capabilities, ChatModel, ChatRequest, ChatStream, Delta, LocalConfig, LocalStatistics, ModelProfile,
        ReasoningEffort, ResponseFormat, Sampling, ToolChoice,
    },
    monitor::EventKind,
    runtime::blocking,
};

/// Tokens written when a request does not say how many.
const DEFAULT_MAX_TOKENS: u64 = 1024;
/// Tokens of request and answer where neither the settings nor the file asks for fewer.
const CONTEXT: u64 = 8192;
/// Answers written at once, and waiting.
const ANSWERS: usize = 64;
const WAITING: usize = 10_000;
/// Threads at most; more than any machine has.
const MOST_THREADS: usize = 1024;
/// Tokens that are guessed in a step.
const GUESS: usize = 8;
/// Bytes of what is remembered.
const MEMORY: u64 = 512 << 20;

/// A chat model, read from a GGUF file or from a folder as transformers saves it. Its answers are written together: they share the
/// weights, the threads, and what the model remembers of a common beginning. What an answer says does not depend on
/// what is written beside it.
///
/// Where a request leaves sampling out: temperature 0.7, top_k 40, top_p 0.95, min_p 0.05 (setting one of the three
/// filters turns the others off), no repetition penalty, and at most 1024 tokens.
///
/// Every [`ResponseFormat`] is kept to, token by token; JSON is written in one line. The profile promises `tools` when
/// the chat template knows them. Other models are told of tools in the system message, in the way of Hermes, when they
/// are asked all the same: directly, or because `capabilities` in the settings say so. What begins a call is held to the
/// tools' schemas; a call that cannot be read stays text.
///
/// Where `tool_choice` asks for a call, the whole answer is held to be one: it has no text before it, and one tool that
/// is named is called once. The arguments fit the tool's schema, unless the tokens are used up before the call is whole:
/// then what there is of it is text, and the answer ended by `Length`. A schema that cannot be kept to is `Unsupported`.
/// With `parallel_tool_calls` false the answer ends behind its first call. An answer with tools and a response format is
/// either calls or JSON of that form; a regular expression or a grammar beside tools is `Unsupported`.
pub struct LocalModel {
    profile: ModelProfile,
    tokenizer: Arc<Tokenizer>,
    /// None for a model that was not made to answer.
    template: Option<Arc<ChatTemplate>>,
    grammars: Arc<Grammars>,
    pub(super) resident: Arc<Resident>,
    load_ms: u64,
    bytes: u64,
}

/// What a model thinks of a token that it read.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadToken {
    /// Its log-probability after those before it.
    pub logprob: f32,
    /// The likeliest tokens in its place, likeliest first.
    pub top: Vec<(u32, f32)>,
}

impl fmt::Debug for LocalModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalModel").field("id", &self.profile.id).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl LocalModel {
    /// Reads the GGUF file or folder at `path`, to be routed by `id`. Takes a part of a second: call it where that is no
    /// harm. Weights are read, not mapped: what happens to the file later matters only when they have left and are
    /// read again, and then a file of another size or time is `Corrupt`.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` for a file that is damaged or no GGUF file; `Unsupported` for a model that cannot run
    /// here, saying why; `Invalid` for a `config` out of range.
    pub fn load(id: impl Into<String>, path: &Path, config: &LocalConfig) -> Result<Self> {
        Self::load_within(id, path, config, &MemoryBudget::default())
    }

    /// The same, in memory that it shares with other models.
    ///
    /// # Errors
    /// As for [`LocalModel::load`]; `Invalid` when there is never enough memory for it, `Overloaded` when there is not
    /// now.
    pub fn load_within(
        id: impl Into<String>,
        path: &Path,
        config: &LocalConfig,
        budget: &MemoryBudget,
    ) -> Result<Self> {
        read(id.into(), path, config, budget, true)
            .map_err(|e| e.during("LocalModel::load").with("path", path.display()))
    }

    /// The same, without the weights: the file is checked, and the first request that needs the weights loads them, while
    /// others that come meanwhile wait for it. Takes some milliseconds.
    ///
    /// # Errors
    /// As for [`LocalModel::load`]; `Invalid` when there is never enough memory for it.
    pub fn open_within(
        id: impl Into<String>,
        path: &Path,
        config: &LocalConfig,
        budget: &MemoryBudget,
    ) -> Result<Self> {
        read(id.into(), path, config, budget, false)
            .map_err(|e| e.during("LocalModel::open").with("path", path.display()))
    }

    /// Milliseconds that opening took, with the weights where they were loaded.
    pub fn load_ms(&self) -> u64 {
        self.load_ms
    }

    /// Bytes of the file, or of the weights in the folder.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The token numbers of `text`, as a user's text: control tokens in it are plain text.
    ///
    /// # Errors
    /// None that a text can cause.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode_plain(text)
    }

    /// The tokens after which an answer is over.
    #[cfg(feature = "cli")]
    pub(crate) fn end_tokens(&self) -> impl Iterator<Item = u32> {
        self.tokenizer.end_tokens()
    }

    /// The likeliest `top` tokens after `tokens`, with their log-probabilities: what parity with other engines is
    /// measured by. Blocks.
    ///
    /// # Errors
    /// `Invalid` when there is no token or an unknown one; `ContextLength` when there are too many.
    pub fn next_logprobs(&self, tokens: &[u32], top: usize) -> Result<Vec<(u32, f32)>> {
        let mut likeliest = Vec::new();
        self.read_scores(tokens, Scores::Last, |_, scores| likeliest = super::sampler::top_logprobs(scores, top))?;
        Ok(likeliest)
    }

    /// For each of `tokens` but the first its log-probability after those before it, and the `top` likeliest tokens in
    /// its place. Blocks.
    ///
    /// # Errors
    /// As for [`LocalModel::next_logprobs`].
    pub fn read_logprobs(&self, tokens: &[u32], top: usize) -> Result<Vec<ReadToken>> {
        let mut read = Vec::with_capacity(tokens.len());
        self.read_scores(tokens, Scores::All, |at, scores| {
            if let Some(&next) = tokens.get(at + 1) {
                let logprob = super::sampler::logprob_of(scores, next);
                read.push(ReadToken { logprob, top: super::sampler::top_logprobs(scores, top) });
            }
        })?;
        Ok(read)
    }

    /// Reads `tokens` and gives the scores after those that are `wanted`, with the places of the tokens.
    fn read_scores(&self, tokens: &[u32], wanted: Scores, mut take: impl FnMut(usize, &[f32])) -> Result<()> {
        if tokens.is_empty() || tokens.iter().any(|&token| token as usize >= self.tokenizer.len()) {
            return Err(Error::invalid("log-probabilities take at least one token, and only tokens of the model"));
        }
        self.check_length(tokens.len())?;
        let (scheduler, _) = self.resident.get()?;
        let decoder = &scheduler.writer().decoder;
        let pages = Pages::new(decoder.page_numbers(), u64::MAX, 1);
        let (mut memory, mut scratch, mut pool) = (Memory::default(), Scratch::default(), Pool::new(1));
        let mut before = 0;
        // Scores take a MiB a token of a large vocabulary, so not those of all are in memory at once.
        for tokens in tokens.chunks(if wanted == Scores::All { 64 } else { tokens.len() }) {
            let part = Part { memory: &mut memory, tokens, scores: wanted };
            let scores = decoder.read(&mut [part], &pages, &mut scratch, &mut pool);
            for (at, scores) in scores.chunks_exact(decoder.vocabulary()).enumerate() {
                take(before + at, scores);
            }
            before += tokens.len();
        }
        Ok(())
    }

    /// Goes on with `prompt`, tokens of the model, as they are and without a chat template. Blocks where the weights are
    /// not in memory.
    ///
    /// # Errors
    /// `Invalid` for no token, an unknown one or sampling out of range; `ContextLength`; `Overloaded`, with the time to
    /// wait.
    pub fn complete(&self, cx: &Context, prompt: Vec<u32>, sampling: &Sampling) -> Result<ChatStream> {
        let (answer, pieces) = self.completion(cx, prompt, sampling)?;
        let (scheduler, _) = self.resident.get()?;
        self.submit(&scheduler, vec![answer])?;
        Ok(stream_of(pieces))
    }

    fn completion(&self, cx: &Context, prompt: Vec<u32>, sampling: &Sampling) -> Result<(Answer, Pieces)> {
        sampling.validate()?;
        cx.check()?;
        if prompt.is_empty() || prompt.iter().any(|&token| token as usize >= self.tokenizer.len()) {
            return Err(Error::invalid("a completion takes at least one token, and only tokens of the model"));
        }
        self.answer(cx, prompt, sampling, Form::Text)
    }

    /// An answer that can be handed over, and its pieces.
    fn answer(&self, cx: &Context, prompt: Vec<u32>, sampling: &Sampling, form: Form) -> Result<(Answer, Pieces)> {
        if let Some(token) = sampling.logit_bias.keys().find(|&&token| token as usize >= self.tokenizer.len()) {
            let message = format!("logit_bias names token {token}, and the model has {}", self.tokenizer.len());
            return Err(Error::invalid(message).with("model", &self.profile.id));
        }
        self.check_length(prompt.len())?;
        let room = self.profile.context_length - prompt.len() as u64;
        let limit = sampling.max_tokens.map_or(DEFAULT_MAX_TOKENS, u64::from).min(room) as usize;
        let (answer, pieces) = Answer::new(cx, prompt, sampling, limit);
        Ok((answer.held_to(form), (cx.clone(), Some(pieces))))
    }

    fn submit(&self, scheduler: &Scheduler, answers: Vec<Answer>) -> Result<()> {
        scheduler.submit(answers).map_err(|e| e.with("model", &self.profile.id))
    }

    /// Goes on with `prompt` in `count` ways, each as [`LocalModel::complete`] does, and each with the next seed after the
    /// one before it. The prompt is read once, but for its last tokens, which fill no whole page.
    ///
    /// # Errors
    /// As for [`LocalModel::complete`]; then none is begun.
    pub fn complete_many(
        &self,
        cx: &Context,
        prompt: &[u32],
        sampling: &Sampling,
        count: usize,
    ) -> Result<Vec<ChatStream>> {
        let of = |at| Sampling { seed: sampling.seed.map(|seed| seed.wrapping_add(at)), ..sampling.clone() };
        let all = (0..count as u64).map(|at| self.completion(cx, prompt.to_vec(), &of(at)));
        let (answers, pieces): (Vec<_>, Vec<_>) = all.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let (scheduler, _) = self.resident.get()?;
        self.submit(&scheduler, answers)?;
        Ok(pieces.into_iter().map(stream_of).collect())
    }

    async fn load_weights(&self, cx: &Context) -> Result<Arc<Scheduler>> {
        let (teller, model, bytes) = (cx.clone(), self.profile.id.clone(), self.bytes);
        // Told where it is loaded, since whoever asked may be gone by then.
        let tell = move |took: Duration| {
            teller.emit(EventKind::ModelLoaded { model, load_ms: took.as_millis() as u64, bytes });
        };
        cx.run(self.resident.wait(tell)).await.map_err(|e| e.with("model", &self.profile.id))
    }

    fn template(&self) -> Result<Arc<ChatTemplate>> {
        self.template.clone().ok_or_else(|| {
            let message = "the model has no chat template, so it was not made to answer; take an \"instruct\" model";
            Error::new(ErrorKind::Unsupported, message).with("model", &self.profile.id)
        })
    }

    fn check_length(&self, tokens: usize) -> Result<()> {
        let most = self.profile.context_length;
        if tokens as u64 + 1 > most {
            let message = format!(
                "the request has {tokens} tokens or more, and the model reads {most} with the answer; shorten it"
            );
            return Err(Error::new(ErrorKind::ContextLength, message).with("model", &self.profile.id));
        }
        Ok(())
    }
}

/// Opens the file at `path`, with its weights where they are wanted `now`.
fn read(id: String, path: &Path, config: &LocalConfig, budget: &MemoryBudget, now: bool) -> Result<LocalModel> {
    let started = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let limits = Limits {
        answers: config.concurrency.unwrap_or(ANSWERS),
        waiting: config.queue.unwrap_or(WAITING),
        threads: config.threads.unwrap_or(cores),
        memory: config.memory_bytes.unwrap_or(MEMORY),
        context: 0,
        guess: if config.speculation.unwrap_or(false) { GUESS } else { 0 },
    };
    if limits.answers == 0 || limits.threads == 0 || limits.threads > MOST_THREADS {
        return Err(Error::invalid(format!(
            "concurrency is at least 1, and threads are 1 to {MOST_THREADS}; correct the settings of the model"
        )));
    }
    let checkpoint = Checkpoint::open(path)?;
    let (bytes, stamp) = (checkpoint.bytes(), checkpoint.stamp());
    let changed = stamp.1.and_then(|changed| changed.duration_since(SystemTime::UNIX_EPOCH).ok());
    let exact = if config.full_precision { " full" } else { "" };
    let revision = format!("{bytes} {}{exact}", changed.unwrap_or_default().as_millis());
    let most = family::context_length(&checkpoint.head)?;
    let context_length = config.context_length.unwrap_or(most.min(CONTEXT));
    if !(2..=most).contains(&context_length) {
        return Err(Error::invalid(format!("context_length is {context_length}; this model takes 2 to {most}")));
    }
    family::check(&checkpoint.head)?;
    let full_precision = config.full_precision;
    let needed = checkpoint.packed_bytes(full_precision);
    let weights = move |checkpoint: &Checkpoint| family::load(checkpoint, context_length, full_precision);
    let limits = Limits { context: context_length as usize, ..limits };
    let idle = config.idle_unload_s.map(Duration::from_secs);
    let (path, budget_of) = (path.to_owned(), budget.clone());
    let open = move || {
        // The tokenizer takes about as long as the weights.
        let (tokenizer, decoder) = std::thread::scope(|scope| {
            let tokenizer = scope.spawn(|| checkpoint.tokenizer());
            let decoder = now.then(|| weights(&checkpoint)).transpose();
            (tokenizer.join().unwrap_or_else(|panic| resume_unwind(panic)), decoder)
        });
        let (tokenizer, decoder) = (Arc::new(tokenizer?), decoder?);
        let template = ChatTemplate::new(&checkpoint.head)?.map(Arc::new);
        let (its, of) = (Arc::clone(&tokenizer), budget_of.clone());
        let written_by = move |decoder: Decoder, before| {
            let writer = Writer { held: of.hold(decoder.bytes() as u64), tokenizer: Arc::clone(&its), decoder };
            Scheduler::new(Arc::new(writer), limits, before)
        };
        let first = decoder.map(|decoder| written_by(decoder, LocalStatistics::default()));
        let again = move |before| {
            let checkpoint = Checkpoint::open(&path)?;
            if checkpoint.stamp() != stamp {
                return Err(
                    corrupt("the file changed after the model was opened; open it again").with("path", path.display())
                );
            }
            Ok(written_by(weights(&checkpoint)?, before))
        };
        let tools = template.as_ref().is_some_and(|template| template.knows_tools());
        let capabilities =
            Capabilities { tools, json_schema: true, grammar: true, logprobs: true, ..Capabilities::default() };
        Ok(LocalModel {
            profile: ModelProfile { capabilities, revision: Some(revision), ..ModelProfile::local(id, context_length) },
            resident: Resident::new(first, needed, Box::new(again), idle, budget_of),
            tokenizer,
            template,
            grammars: Arc::default(),
            load_ms: started.elapsed().as_millis() as u64,
            bytes,
        })
    };
    if now {
        return budget.within(needed, open);
    }
    budget.allows(needed)?;
    open()
}

/// What the profile does not promise is refused, not half done.
fn check(request: &ChatRequest) -> Result<()> {
    request.validate()?;
    let unsupported = |message: &str| Err(Error::new(ErrorKind::Unsupported, message));
    if request.messages.is_empty() {
        return Err(Error::invalid("there is no message to answer"));
    }
    let odd = matches!(request.response_format, ResponseFormat::Regex { .. } | ResponseFormat::Grammar { .. });
    if odd && !request.tools.is_empty() && request.tool_choice != ToolChoice::None {
        return unsupported(
            "a local model takes tools with text or JSON; leave out the tools, or the regex or grammar of the answer",
        );
    }
    if request.sampling.reasoning_effort.is_some_and(|effort| effort != ReasoningEffort::None) {
        return unsupported("a local model reasons as its template has it; leave out reasoning_effort");
    }
    if request.messages.iter().any(|message| !message.images.is_empty()) {
        return unsupported("this local model cannot see images; route to a model with the capability images");
    }
    Ok(())
}

#[async_trait]
impl ChatModel for LocalModel {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn chat(&self, cx: &Context, mut request: ChatRequest) -> Result<ChatStream> {
        check(&request)?;
        cx.check()?;
        if request.tool_choice == ToolChoice::None {
            request.tools.clear();
        }
        let bytes = request.messages.iter().map(|message| message.content.len()).sum();
        self.check_length(self.tokenizer.fewest_tokens(bytes))?;
        let sampling = request.sampling.clone();
        let (tokenizer, template, grammars) =
            (Arc::clone(&self.tokenizer), self.template()?, Arc::clone(&self.grammars));
        // Both may take a while: the prompt when it is long, the form when it is large.
        let prepare = move || {
            let form = match Tools::new(&grammars, &tokenizer, template.syntax(), &request)? {
                Some(tools) => Form::Calls(Box::new(tools)),
                None => grammars
                    .constraint(&tokenizer, &request.response_format)?
                    .map_or(Form::Text, |constraint| Form::Whole(Box::new(constraint))),
            };
            Ok((template.encode(&tokenizer, &request)?, form))
        };
        let (prompt, form) = cx.run(blocking(prepare)).await?;
        let (answer, pieces) = self.answer(cx, prompt, &sampling, form)?;
        let scheduler = match self.resident.loaded() {
            Some(loaded) => loaded,
            None => self.load_weights(cx).await?,
        };
        self.submit(&scheduler, vec![answer])?;
        Ok(stream_of(pieces))
    }

    /// Exact: the tokens of the prompt as the model reads it. Of a request whose length alone says that it does not fit
    /// the context, the fewest it can have: nobody waits for the exact number of too many.
    fn count_tokens(&self, request: &ChatRequest) -> Result<u64> {
        let bytes = request.messages.iter().map(|message| message.content.len()).sum();
        let fewest = self.tokenizer.fewest_tokens(bytes) as u64;
        if fewest >= self.profile.context_length {
            return Ok(fewest);
        }
        let template = self.template()?;
        if request.tool_choice == ToolChoice::None && !request.tools.is_empty() {
            let told_of_none = ChatRequest { tools: Vec::new(), ..request.clone() };
            return Ok(template.encode(&self.tokenizer, &told_of_none)?.len() as u64);
        }
        Ok(template.encode(&self.tokenizer, request)?.len() as u64)
    }

    fn local_statistics(&self) -> Option<LocalStatistics> {
        Some(self.resident.statistics())
    }
}

type Pieces = (Context, Option<mpsc::Receiver<Result<Delta>>>);

fn stream_of(pieces: Pieces) -> ChatStream {
    Box::pin(stream::unfold(pieces, next))
}

/// The next piece. The deadline of the caller is kept here too, since the thread looks for it between steps only.
async fn next((cx, pieces): Pieces) -> Option<(Result<Delta>, Pieces)> {
    let mut pieces = pieces?;
    let piece = cx.run(async { Ok(pieces.recv().await) }).await;
    match piece.transpose()?.and_then(|piece| piece) {
        Ok(piece) => Some((Ok(piece), (cx, Some(pieces)))),
        // An error ends the stream; the thread sees that nobody reads any more.
        Err(error) => Some((Err(error), (cx, None))),
    }
}
