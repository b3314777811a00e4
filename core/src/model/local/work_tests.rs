use std::sync::Arc;

use tokio::sync::mpsc::Receiver;

use super::{super::testing::tiny_writer, *};
use crate::{
    context::{Context, Priority},
    error::ErrorKind,
    model::{Delta, Sampling},
};

/// What is written by hand, a step at a time.
fn shared(answers: usize, memory: u64) -> Shared {
    Shared::new(Arc::new(tiny_writer()), Limits { answers, waiting: 4, threads: 1, memory, context: 512, guess: 0 })
}

type Pieces = Receiver<Result<Delta>>;

/// Hands over a prompt of so many tokens, and expects one piece a token of the answer.
fn ask(shared: &Shared, cx: &Context, prompt: usize, first: u32) -> Result<Pieces> {
    let sampling = Sampling {
        temperature: Some(0.0),
        logprobs: Some(0),
        // The end is not chosen.
        logit_bias: [(2, -100.0), (0, -100.0)].into(),
        ..Sampling::default()
    };
    let prompt = (0..prompt as u32).map(|at| first + (at * 7 + first) % 100).collect();
    let (answer, pieces) = Answer::new(cx, prompt, &sampling, 40);
    shared.lock().enter(answer, shared.limits).map(|shed| {
        if let Some((shed, error)) = shed {
            shed.fail(error);
        }
        pieces
    })
}

/// Tokens that came since it was last looked for.
fn tokens(pieces: &mut Pieces) -> usize {
    std::iter::from_fn(|| pieces.try_recv().ok()).filter(|piece| matches!(piece, Ok(Delta::Logprob { .. }))).count()
}

fn code(pieces: &mut Pieces) -> Option<ErrorKind> {
    std::iter::from_fn(|| pieces.try_recv().ok()).find_map(|piece| piece.err().map(|error| error.kind()))
}

fn step(work: &mut Work<'_>) {
    assert!(work.admit());
    work.step();
}

#[test]
fn a_long_prompt_holds_nobody_up() {
    let shared = shared(4, 1 << 30);
    let mut work = Work::new(&shared);
    let cx = Context::new();
    let mut short: Vec<_> = (0..2).map(|at| ask(&shared, &cx, 5, 10 + at).unwrap()).collect();
    step(&mut work);
    assert_eq!(short.iter_mut().map(tokens).collect::<Vec<_>>(), [1, 1]);
    let mut long = ask(&shared, &cx, 5 * STEP, 20).unwrap();
    for _ in 0..4 {
        step(&mut work);
        assert_eq!(short.iter_mut().map(tokens).collect::<Vec<_>>(), [1, 1], "one token each in every step");
        assert_eq!(tokens(&mut long), 0);
    }
    step(&mut work);
    assert_eq!(tokens(&mut long), 1, "a step reads {STEP} tokens of it");
}

#[test]
fn who_is_given_up_is_gone_at_the_next_step() {
    let shared = shared(1, 1 << 30);
    let mut work = Work::new(&shared);
    let (first, second) = (Context::new(), Context::new());
    let mut one = ask(&shared, &first, 5, 10).unwrap();
    let mut two = ask(&shared, &second, 5, 11).unwrap();
    step(&mut work);
    assert_eq!((tokens(&mut one), tokens(&mut two)), (1, 0));
    first.cancel.cancel();
    step(&mut work);
    assert_eq!(code(&mut one), Some(ErrorKind::Cancelled));
    step(&mut work);
    assert_eq!(tokens(&mut two), 1);
    // One that waits leaves as well.
    let third = Context::new();
    let mut three = ask(&shared, &third, 5, 12).unwrap();
    third.cancel.cancel();
    step(&mut work);
    assert_eq!(code(&mut three), Some(ErrorKind::Cancelled));
    drop(two);
    step(&mut work);
    assert_eq!((work.running.len(), shared.lock().waiting.len()), (0, 0));
    assert_eq!(work.pages.count(), work.pages.kept());
}

#[test]
fn the_urgent_go_first_and_take_the_place_of_the_others() {
    let shared = shared(2, 1 << 30);
    let mut work = Work::new(&shared);
    let of = |priority, first| ask(&shared, &Context::new().priority(priority), 5, first).unwrap();
    let (mut old, mut young) = (of(Priority::Background, 10), of(Priority::Background, 11));
    step(&mut work);
    assert_eq!((tokens(&mut old), tokens(&mut young)), (1, 1));
    let mut normal = of(Priority::Normal, 12);
    let mut urgent = of(Priority::Interactive, 13);
    let mut more = of(Priority::Background, 14);
    step(&mut work);
    assert_eq!([&mut old, &mut young, &mut normal, &mut urgent, &mut more].map(tokens), [0, 0, 1, 1, 0]);
    assert_eq!(shared.lock().statistics.preempted, 2);
    drop((normal, urgent));
    step(&mut work);
    step(&mut work);
    assert!(tokens(&mut old) > 0 && tokens(&mut young) > 0 && tokens(&mut more) == 0, "then in the order they came");
}

#[test]
fn without_memory_the_least_urgent_makes_way() {
    // Room for one whole answer and a page.
    let shared = shared(4, 0);
    let mut work = Work::new(&shared);
    let of = |priority, first, prompt| ask(&shared, &Context::new().priority(priority), prompt, first).unwrap();
    let mut background = of(Priority::Background, 10, 250);
    for _ in 0..5 {
        step(&mut work);
    }
    assert!(tokens(&mut background) > 0);
    let mut urgent = of(Priority::Interactive, 30, 200);
    let mut normal = of(Priority::Normal, 60, 200);
    for _ in 0..5 {
        step(&mut work);
    }
    assert!(tokens(&mut urgent) > 0);
    let all = 3 * 40;
    let mut written = tokens(&mut urgent);
    for _ in 0..400 {
        if work.running.is_empty() && shared.lock().waiting.is_empty() {
            break;
        }
        step(&mut work);
        written += tokens(&mut urgent) + tokens(&mut normal) + tokens(&mut background);
    }
    assert!(written > all / 2, "{written}");
    assert!(work.running.is_empty() && work.pages.count() == work.pages.kept());
}

#[test]
fn where_no_more_may_wait_the_least_urgent_is_refused() {
    let shared = shared(1, 1 << 30);
    let of = |priority| ask(&shared, &Context::new().priority(priority), 5, 10);
    // One for the free place, four that wait.
    let mut waiting: Vec<_> = (0..5).map(|_| of(Priority::Background).unwrap()).collect();
    let error = of(Priority::Background).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    let _urgent = of(Priority::Interactive).unwrap();
    assert_eq!(waiting.iter_mut().filter_map(code).collect::<Vec<_>>(), [ErrorKind::Overloaded]);
    assert_eq!(code(&mut waiting[4]), None, "it was told once");
    assert_eq!(shared.lock().waiting.len(), 5);
}

#[test]
fn those_who_begin_alike_read_it_once() {
    let shared = shared(8, 1 << 30);
    let mut work = Work::new(&shared);
    let mut all: Vec<_> = (0..4).map(|_| ask(&shared, &Context::new(), 70, 10).unwrap()).collect();
    for _ in 0..4 {
        step(&mut work);
    }
    assert!(all.iter_mut().all(|pieces| tokens(pieces) > 0));
    assert_eq!(shared.lock().statistics.tokens_found, 3 * 64);
}
