//! Guesses what an answer says next where it repeats its prompt or itself. A guess is read together with the token
//! before it; the answer is the same, only sooner, when the guess was right.

/// Tokens that must be the same for what followed them to be guessed again; more at first, since they miss less.
const ALIKE: [usize; 2] = [4, 2];
/// Tokens guessed at once, at first and at most.
const FIRST: usize = 3;
const MOST: usize = 7;
/// Reading one more token in a step takes about so much of a step: of fewer right guesses nothing is gained.
const COST: f64 = 0.35;
/// How much of what is known comes from the last guess.
const NEW: f64 = 0.25;
/// Steps without a guess when guesses do not pay, at first and at most.
const PAUSE: u32 = 8;
const LONGEST_PAUSE: u32 = 256;

/// How well guesses do for one answer.
#[derive(Debug)]
pub(super) struct Speculation {
    /// Tokens of the next guess.
    length: usize,
    /// Share of guessed tokens that were right, smoothed.
    right: f64,
    /// Steps to go without a guess.
    resting: u32,
    pause: u32,
}

impl Default for Speculation {
    fn default() -> Self {
        Self { length: FIRST, right: 0.5, resting: 0, pause: PAUSE }
    }
}

impl Speculation {
    /// What may follow `tokens`, at most `most` tokens; nothing when there is nothing alike, or it does not pay.
    pub(super) fn guess<'a>(&mut self, tokens: &'a [u32], most: usize) -> &'a [u32] {
        if self.resting > 0 {
            self.resting -= 1;
            return &[];
        }
        followed(tokens, self.length.min(most))
    }

    /// Of `guessed` tokens `right` were.
    pub(super) fn learn(&mut self, guessed: usize, right: usize) {
        if guessed == 0 {
            return;
        }
        self.right += NEW * (right as f64 / guessed as f64 - self.right);
        self.length = if right == guessed { (self.length + 2).min(MOST) } else { right.max(1) };
        if self.right < COST {
            (self.resting, self.pause) = (self.pause, (self.pause * 2).min(LONGEST_PAUSE));
            self.right = COST;
        } else if right == guessed {
            self.pause = PAUSE;
        }
    }
}

/// What followed, at most `most` tokens, when `tokens` last ended as they do now.
fn followed(tokens: &[u32], most: usize) -> &[u32] {
    for alike in ALIKE {
        let Some((before, end)) = tokens.len().checked_sub(alike).map(|at| tokens.split_at(at)) else { continue };
        // A place before the end itself, which may overlap with it: "a a a" goes on with "a".
        let found = (0..before.len()).rev().find(|&at| tokens[at..at + alike] == *end);
        if let Some(at) = found {
            let from = at + alike;
            return &tokens[from..tokens.len().min(from + most)];
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_last_is_guessed() {
        let cases: &[(&[u32], usize, &[u32])] = &[
            (&[], 3, &[]),
            (&[1], 3, &[]),
            (&[1, 2, 3, 1, 2], 2, &[3, 1]),
            (&[1, 2, 3, 1, 2], 0, &[]),
            (&[7, 7, 7], 3, &[7]),
            // The longer likeness before the nearer one.
            (&[1, 2, 3, 4, 9, 5, 3, 4, 8, 1, 2, 3, 4], 1, &[9]),
            (&[3, 4, 9, 3, 4, 8, 3, 4], 1, &[8]),
            (&[1, 2, 3], 3, &[]),
        ];
        for (tokens, most, expected) in cases {
            assert_eq!(followed(tokens, *most), *expected, "{tokens:?}");
        }
    }

    #[test]
    fn guesses_that_miss_are_given_up_for_longer_and_longer() {
        let mut speculation = Speculation::default();
        let mut tried = 0;
        for _ in 0..1000 {
            let guessed = speculation.guess(&[1, 2, 3, 1, 2], 8).len();
            tried += usize::from(guessed > 0);
            speculation.learn(guessed, 0);
        }
        assert!(tried < 20, "{tried}");
    }

    #[test]
    fn guesses_that_hit_grow() {
        let mut speculation = Speculation::default();
        let tokens: Vec<_> = (0..20).chain(0..4).collect();
        for _ in 0..10 {
            let guessed = speculation.guess(&tokens, 16).len();
            speculation.learn(guessed, guessed);
        }
        assert_eq!(speculation.guess(&tokens, 16), (4..11).collect::<Vec<_>>());
    }
}
