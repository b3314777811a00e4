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
    shared.lock().enter(vec![answer], shared.limits).map(|shed| {
        for (shed, error) in shed {
            shed.fail(error);
        }
        pieces
    })
}

fn preempted(shared: &Shared) -> u64 {
    shared.lock().statistics.preempted
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

#[test]
fn equals_do_not_take_each_others_turn_however_long_they_wait() {
    let shared = shared(1, 1 << 30);
    let mut work = Work::new(&shared);
    let mut one = ask(&shared, &Context::new(), 5, 10).unwrap();
    step(&mut work);
    let mut two = ask(&shared, &Context::new(), 5, 11).unwrap();
    let waited = shared.lock().waiting[0].standing.waited(Duration::from_mins(5));
    shared.lock().waiting[0].standing = waited;
    for _ in 1..40 {
        step(&mut work);
    }
    assert_eq!((tokens(&mut one), tokens(&mut two), preempted(&shared)), (40, 0, 0));
    step(&mut work);
    assert_eq!(tokens(&mut two), 1);
}

#[test]
fn those_of_a_lower_priority_make_way_where_there_is_no_room_and_it_is_enough() {
    // 17 pages.
    let shared = shared(4, 0);
    let mut work = Work::new(&shared);
    let of = |priority, prompt, first| ask(&shared, &Context::new().priority(priority), prompt, first).unwrap();
    let _background = of(Priority::Background, 250, 10);
    for _ in 0..5 {
        step(&mut work);
    }
    let mut urgent = of(Priority::Interactive, 300, 30);
    for _ in 0..5 {
        step(&mut work);
    }
    assert_eq!((tokens(&mut urgent), preempted(&shared)), (1, 1));
    // What has room goes on, where its going would not be enough.
    let mut small = of(Priority::Normal, 20, 50);
    step(&mut work);
    let _large = of(Priority::Interactive, 350, 70);
    for _ in 0..3 {
        step(&mut work);
    }
    assert_eq!((tokens(&mut small), preempted(&shared)), (4, 1));
}

#[test]
fn whoever_is_given_nothing_to_read_ages_and_is_read() {
    let shared = shared(4, 1 << 30);
    let mut work = Work::new(&shared);
    let _background = ask(&shared, &Context::new().priority(Priority::Background), 100, 10).unwrap();
    let _urgent = ask(&shared, &Context::new().priority(Priority::Interactive), 400, 60).unwrap();
    step(&mut work);
    let read = |work: &Work<'_>| {
        let of = |tokens| work.running.iter().find(|answer| answer.tokens().len() == tokens).unwrap().memory.len();
        (of(100), of(400))
    };
    assert_eq!(read(&work), (0, 64));
    let background = &mut work.running[1];
    background.standing = background.standing.waited(Duration::from_secs(31));
    step(&mut work);
    assert_eq!(read(&work), (64, 64));
}

#[test]
fn of_equals_the_prompt_with_the_nearer_end_is_read_first() {
    let shared = shared(4, 1 << 30);
    let mut work = Work::new(&shared);
    let _long = ask(&shared, &Context::new(), 5 * STEP, 10).unwrap();
    step(&mut work);
    let mut soon = ask(&shared, &Context::new().within(Duration::from_mins(1)), 10, 60).unwrap();
    step(&mut work);
    assert_eq!(tokens(&mut soon), 1);
}

#[test]
fn whoever_is_told_of_the_end_finds_the_place_free() {
    let shared = shared(1, 1 << 30);
    let mut work = Work::new(&shared);
    let mut pieces = ask(&shared, &Context::new(), 5, 10).unwrap();
    let mut done = false;
    for _ in 0..40 {
        step(&mut work);
        done = std::iter::from_fn(|| pieces.try_recv().ok()).any(|piece| matches!(piece, Ok(Delta::Done { .. })));
    }
    let state = shared.lock();
    assert!(done && state.running == 0 && state.statistics.tokens_written == 40);
}

#[test]
fn answers_that_are_given_up_say_nothing_of_the_pace() {
    let shared = shared(1, 1 << 30);
    let mut work = Work::new(&shared);
    let given_up = Context::new();
    let _pieces = ask(&shared, &given_up, 5, 10).unwrap();
    step(&mut work);
    given_up.cancel.cancel();
    step(&mut work);
    let _waiting: Vec<_> = (0..5).map(|_| ask(&shared, &Context::new(), 5, 10).unwrap()).collect();
    let error = ask(&shared, &Context::new(), 5, 10).unwrap_err();
    assert_eq!(error.facts()["retry_after_ms"], "1000", "as long as no answer was written");
}

#[test]
fn of_thousands_that_wait_all_can_leave() {
    let limits = Limits { answers: 1, waiting: 4000, threads: 1, memory: 1 << 30, context: 512, guess: 0 };
    let shared = Shared::new(Arc::new(tiny_writer()), limits);
    let mut work = Work::new(&shared);
    let _one = ask(&shared, &Context::new(), 5, 10).unwrap();
    step(&mut work);
    let given_up = Context::new();
    let _many: Vec<_> = (0..3 * LOOKED_AT).map(|_| ask(&shared, &given_up, 5, 10).unwrap()).collect();
    let _other = ask(&shared, &Context::new(), 5, 10).unwrap();
    given_up.cancel.cancel();
    for _ in 0..4 {
        step(&mut work);
    }
    assert_eq!(shared.lock().waiting.len(), 1, "however few are looked at in a step");
}

#[test]
fn of_the_answers_of_one_call_all_wait_or_none() {
    let shared = shared(1, 1 << 30);
    let many = |priority, count: usize| {
        let cx = Context::new().priority(priority);
        let answers = (0..count).map(|_| Answer::new(&cx, vec![5], &Sampling::default(), 4).0);
        shared.lock().enter(answers.collect(), shared.limits).map(|shed| shed.len())
    };
    assert_eq!(many(Priority::Normal, 6).unwrap_err().kind(), ErrorKind::Overloaded);
    assert_eq!(shared.lock().waiting.len(), 0);
    assert_eq!(many(Priority::Background, 3).unwrap(), 0);
    assert_eq!(many(Priority::Normal, 4).unwrap(), 2);
    assert_eq!(many(Priority::Normal, 3).unwrap_err().kind(), ErrorKind::Overloaded);
    assert_eq!(shared.lock().waiting.len(), 5);
    assert_eq!(many(Priority::Interactive, 5).unwrap(), 5);
}

/// The text of an answer of background priority; a turn is taken from it after so many steps.
fn said(taken_after: Option<usize>) -> String {
    let shared = shared(1, 1 << 30);
    let mut work = Work::new(&shared);
    let sampling = Sampling {
        seed: Some(3),
        temperature: Some(1.5),
        logit_bias: [(2, -100.0), (0, -100.0)].into(),
        ..Sampling::default()
    };
    let cx = Context::new().priority(Priority::Background);
    let (answer, mut pieces) = Answer::new(&cx, (10..50).collect(), &sampling, 30);
    assert!(shared.lock().enter(vec![answer], shared.limits).unwrap().is_empty());
    let mut urgent = None;
    for at in 0..200 {
        if taken_after == Some(at) {
            urgent = Some(ask(&shared, &Context::new().priority(Priority::Interactive), 5, 60).unwrap());
        }
        if at > 100 && work.running.is_empty() {
            break;
        }
        if !work.running.is_empty() || !shared.lock().waiting.is_empty() {
            step(&mut work);
        }
    }
    assert_eq!(preempted(&shared), u64::from(urgent.is_some()));
    assert_eq!(shared.lock().statistics.tokens_found, 0);
    let texts = std::iter::from_fn(|| pieces.try_recv().ok()).filter_map(|piece| match piece {
        Ok(Delta::Text { text }) => Some(text),
        Ok(Delta::Done { usage, .. }) => {
            assert_eq!(usage.cached_tokens, 0, "what it read itself is not found");
            None
        }
        _ => None,
    });
    texts.collect()
}

#[test]
fn an_answer_that_made_way_says_the_same() {
    let whole = said(None);
    assert!(!whole.is_empty());
    for after in [1, 2, 9, 25] {
        assert_eq!(said(Some(after)), whole, "after {after} steps");
    }
}
