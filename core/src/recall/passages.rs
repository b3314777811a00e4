//! Long texts are found by their passages: cut on the borders of sentences.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// Where to cut `text`: passages of about `size` bytes, at most twice that, that together are the text. One, when the text
/// has no more than `above` bytes.
pub(super) fn cut(text: &str, above: usize, size: usize) -> Vec<Range<usize>> {
    if above == 0 || text.len() <= above {
        return std::iter::once(0..text.len()).collect();
    }
    // As many as are needed, of about the same length: a last one of three words says nothing.
    let count = text.len().div_ceil(size);
    let wanted = text.len().div_ceil(count);
    let mut passages = Vec::with_capacity(count);
    let (mut begin, mut end) = (0, 0);
    for (at, piece) in sentences(text, wanted) {
        let with = at + piece - begin;
        // The nearer end is taken.
        if end > begin && with > wanted && with - wanted > wanted.saturating_sub(end - begin) {
            passages.push(begin..end);
            begin = end;
        }
        end = at + piece;
    }
    passages.push(begin..text.len());
    passages
}

/// Where sentences begin and how many bytes they have; those of more than `most` bytes in pieces of words.
fn sentences(text: &str, most: usize) -> Vec<(usize, usize)> {
    let mut pieces = Vec::new();
    for (at, sentence) in text.split_sentence_bound_indices() {
        if sentence.len() <= most {
            pieces.push((at, sentence.len()));
            continue;
        }
        let (mut begin, mut end) = (at, at);
        for (word_at, word) in sentence.split_word_bound_indices() {
            let word_end = at + word_at + word.len();
            if word_end - begin > most && end > begin {
                pieces.push((begin, end - begin));
                begin = end;
            }
            end = word_end;
        }
        cut_word(text, begin..end, most, &mut pieces);
    }
    pieces
}

/// What is one word to the last, such as base64, is cut where a character ends.
fn cut_word(text: &str, mut left: Range<usize>, most: usize, pieces: &mut Vec<(usize, usize)>) {
    while left.len() > most {
        let mut end = text.floor_char_boundary(left.start + most);
        if end <= left.start {
            end = text.ceil_char_boundary(left.start + 1);
        }
        pieces.push((left.start, end - left.start));
        left.start = end;
    }
    if !left.is_empty() {
        pieces.push((left.start, left.len()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_text_is_cut_between_sentences() {
        let text = "One two three. Four five six! Seven eight nine? Ten eleven twelve. ".repeat(4);
        let passages = cut(&text, 100, 60);
        assert!(passages.len() >= 4, "{passages:?}");
        for passage in &passages {
            assert!(text[passage.clone()].trim_end().ends_with(['.', '!', '?']), "{:?}", &text[passage.clone()]);
        }
        for (text, above) in [("Short. Text.", 100), (text.as_str(), 0)] {
            let passages = cut(text, above, 60);
            assert!(passages.len() == 1 && passages[0] == (0..text.len()), "{passages:?}");
        }
    }

    proptest! {
        #[test]
        fn passages_are_the_text(text in "[a-zé .!?\n東]{0,600}|[a-z]{300,500}", above in 1_usize..200, size in 8_usize..100) {
            let passages = cut(&text, above, size);
            let mut end = 0;
            for passage in &passages {
                prop_assert_eq!(passage.start, end);
                prop_assert!(text.is_char_boundary(passage.end));
                prop_assert!(text.len() <= above || passage.len() <= 2 * size + 8, "{passage:?} of {size}");
                end = passage.end;
            }
            prop_assert_eq!(end, text.len());
            prop_assert!(text.is_empty() || passages.iter().all(|passage| !passage.is_empty()));
        }
    }
}
