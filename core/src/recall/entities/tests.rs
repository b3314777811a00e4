use std::time::Instant;

use proptest::prelude::*;

use super::{
    Kind,
    normal::{MAX_NAME, normal},
    read,
};

fn found(text: &str) -> Vec<(Kind, String)> {
    super::extract(text, None).into_iter().map(|entity| (entity.kind, entity.name)).collect()
}

fn names(text: &str) -> Vec<String> {
    found(text).into_iter().map(|(_, name)| name).collect()
}

fn said(text: &str, speaker: Option<&str>) -> Vec<(String, &'static str, String)> {
    read(text, speaker).relations.into_iter().map(|triple| (triple.subject, triple.kind, triple.object)).collect()
}

fn one(subject: &str, kind: &'static str, object: &str) -> (String, &'static str, String) {
    (subject.to_owned(), kind, object.to_owned())
}

#[test]
fn a_name_has_one_form() {
    for (name, wanted) in [
        ("The  Beatles", "beatles"),
        ("José's", "jose"),
        ("Dr. Anna Freud", "anna freud"),
        ("Prof. Dr. Ada Lovelace", "ada lovelace"),
        ("O’Brien", "obrien"),
        ("Dow Jones & Company", "dow jones and company"),
        ("U.S.", "united states"),
        ("King Lear", "king lear"),
        ("C++", "c++"),
        ("'s", "s"),
        ("…", ""),
        ("ＡＢＣ", "abc"),
    ] {
        assert_eq!(normal(name), wanted, "{name}");
    }
}

#[test]
fn names_go_over_small_words_and_end_at_others() {
    let text = "Yesterday we met Vincent van Gogh at the University of the Arts in Den Haag, and Dow Jones & Company.";
    assert_eq!(names(text), ["vincent van gogh", "university of the arts", "den haag", "dow jones and company"]);
    assert_eq!(names("It was Peter Williams, Jr. who saw Apollo 11."), ["peter williams jr", "apollo 11"]);
    assert_eq!(
        names("the Ministry of Food and Agriculture, then Ada and Bob"),
        ["ministry of food and agriculture", "ada", "bob"]
    );
}

#[test]
fn a_word_is_no_name_because_it_begins_a_sentence() {
    assert!(names("Bananas are yellow. However, nothing happened. Watched by many, it ended. I'm fine!").is_empty());
    assert_eq!(names("Zorblax lives here."), ["zorblax"]);
    assert_eq!(names("We saw Publix. Publix, then, was large."), ["publix", "publix"]);
    assert_eq!(names("A river runs. River water is cold."), Vec::<String>::new());
}

#[test]
fn kinds_are_told_apart() {
    for (text, kind) in [
        ("we saw Berlin", Kind::Place),
        ("at Lake Garda", Kind::Place),
        ("from Siemens Ltd.", Kind::Organisation),
        ("with Mr. Zorblax", Kind::Person),
        ("with Melanie", Kind::Person),
        ("he read \"The Art of War\" twice", Kind::Title),
        ("in Transition (novel)", Kind::Title),
        ("an American", Kind::Other),
        ("write to ada@example.org.", Kind::Email),
        ("see https://example.org/a?b=c, please", Kind::Url),
        ("all #rustlang", Kind::Hashtag),
        ("thanks @ada_l!", Kind::Handle),
        ("it cost $5 million", Kind::Number),
        ("a run of 42 km", Kind::Number),
    ] {
        let found = found(text);
        assert!(matches!(&found[..], [(found, _)] if *found == kind), "{text}: {found:?}");
    }
}

#[test]
fn dates_have_one_form() {
    for (text, iso) in [
        ("on 25 June 1967", "1967-06-25"),
        ("on June 25th, 1967", "1967-06-25"),
        ("the 7th of May 2023", "2023-05-07"),
        ("in July 1967", "1967-07"),
        ("in 1854", "1854"),
        ("from 1829 to 1830", "1829/1830"),
        ("the 2005-06 season", "2005/2006"),
        ("in the 1960s", "1960s"),
        ("at 2023-05-08", "2023-05-08"),
        ("on 5 May", "--05-05"),
        ("in the 19th century", "19th century"),
    ] {
        assert_eq!(found(text), [(Kind::Date, iso.to_owned())], "{text}");
    }
    assert!(found("room 1854 and 25 others").is_empty());
    assert!(found("see you on Monday").is_empty());
}

#[test]
fn a_part_of_a_name_is_the_whole_when_it_can_be_only_one() {
    assert_eq!(names("We met Anna Freud. Freud, who was kind, left."), ["anna freud", "anna freud"]);
    assert_eq!(names("Anna Freud met Martin Freud, and Freud left."), ["anna freud", "martin freud", "freud"]);
    assert_eq!(
        names("the World Health Organization (WHO) and the WHO"),
        ["world health organization", "world health organization", "world health organization"]
    );
    let mentions = super::extract("ask Caroline again", Some("Caroline Smith"));
    assert_eq!(mentions[0].name, "caroline smith");
}

#[test]
fn a_heading_is_what_the_text_is_about() {
    let text = "Transition (Iain Banks novel)\nIt is a book.";
    assert_eq!(found(text)[0], (Kind::Title, "transition".to_owned()));
    assert_eq!(names("Riemann integral\nIt was created by Bernhard Riemann.")[0], "riemann integral");
    assert_eq!(names("Au Gres Township, Michigan\nIt is there."), ["au gres township", "michigan"]);
    assert_eq!(names("The Sun (United Kingdom)\nIt is a paper."), ["sun", "united kingdom"]);
    assert!(names("Hey there\nhow are you").is_empty());
}

#[test]
fn a_text_is_about_its_heading_and_its_first_subject() {
    let about = |text: &str| read(text, None).subjects;
    assert_eq!(
        about("Engelbert Humperdinck (singer)\nArnold Dorsey (born 1936) sings."),
        ["engelbert humperdinck", "arnold dorsey"]
    );
    assert_eq!(about("\"Wonderland by Night\" is a song by Bert Kaempfert."), ["wonderland by night"]);
    assert_eq!(about("The Beatles were a band."), ["beatles"]);
    assert_eq!(about("Leland, North Carolina. Leland is a town."), ["leland"]);
    assert_eq!(about("Pterocarya. Pterocarya is a tree."), ["pterocarya"]);
    assert_eq!(about("The Bluff (film). A film by Ada Hill."), ["bluff"]);
    assert_eq!(about("Palash Sen. Dr. Palash Kumar Sen (born 1965) sings."), ["palash sen", "palash kumar sen"]);
    assert_eq!(about("Bach, the composer, lived in Leipzig."), ["bach"]);
    for text in ["Caroline, that is great!", "In Leipzig there is a park.", "We saw Ada.", "1936 was long ago.", ""] {
        assert!(about(text).is_empty(), "{text}: {:?}", about(text));
    }
}

#[test]
fn relations_are_typed() {
    assert_eq!(said("Ada Lovelace was born in London.", None), [one("ada lovelace", "born_in", "london")]);
    assert_eq!(
        said("The film Jaws was directed by Steven Spielberg.", None),
        [one("steven spielberg", "directed", "jaws")]
    );
    assert_eq!(
        said("Tom's wife, Julia, bought a red car last week.", None),
        [one("tom", "married_to", "julia"), one("tom", "bought", "red car")]
    );
    assert_eq!(
        said("Hall, the first president of the APA, wrote Adolescence.", None),
        [one("hall", "leads", "apa"), one("hall", "wrote", "adolescence")]
    );
    assert_eq!(
        said("Paris is the capital of France.", None),
        [one("paris", "is_a", "capital of france"), one("paris", "capital_of", "france")]
    );
}

#[test]
fn i_am_the_speaker() {
    let text = "I live in Berlin and work at Siemens. I'm a nurse. My sister Anna moved to Paris in 2019.";
    assert_eq!(
        said(text, Some("Caroline")),
        [
            one("caroline", "lives_in", "berlin"),
            one("caroline", "works_at", "siemens"),
            one("caroline", "is_a", "nurse"),
            one("caroline", "sibling_of", "anna"),
            one("anna", "moved_to", "paris")
        ]
    );
    let read = read(text, Some("Caroline"));
    assert_eq!(read.relations[4].when.as_deref(), Some("2019"));
    assert!(!said(text, None).iter().any(|(subject, ..)| subject == "i"), "nobody is called I");
}

#[test]
fn what_is_denied_or_wished_is_not_said() {
    assert!(said("I don't like spinach. I never lived in Rome. I would like tea.", Some("Ada")).is_empty());
}

#[test]
fn he_and_she_are_who_was_spoken_of() {
    assert_eq!(said("We met Ada Lovelace. She lived in London.", None), [one("ada lovelace", "lives_in", "london")]);
}

/// Fast where it is optimised, and linear in any build: no text takes a time that grows with its square.
#[test]
fn long_texts_take_no_longer_than_their_length() {
    for part in ["likes ", "I ", "A.", "\"Ab ", "Ab, ", "(AB) ", "a.b@", "1 ", "Of The ", "x", "X", "\n"] {
        let time = |bytes: usize| {
            let text = part.repeat(bytes / part.len());
            let began = Instant::now();
            drop(read(&text, Some("Ada")));
            began.elapsed().as_secs_f64()
        };
        // The best of some: what else the machine does takes time, too.
        let best = |bytes: usize| (0..4).map(|_| time(bytes)).fold(f64::INFINITY, f64::min);
        let short = best(100_000).max(0.002);
        let long = best(400_000);
        assert!(long < short * 12.0, "{part:?}: {short} s, four times as long: {long} s");
    }
}

/// `cargo test --release ... -- --ignored --nocapture how_fast`
#[test]
#[ignore = "says how fast it is on this machine"]
#[allow(clippy::print_stdout, reason = "it says so")]
fn how_fast() {
    let text = "Ada Lovelace was born in London on 10 December 1815. She wrote \"Notes on the Engine\" for \
                Charles Babbage, who lived in London and loved music very much.";
    let began = Instant::now();
    for _ in 0..10_000 {
        drop(read(text, Some("Ada")));
    }
    println!("{:.2} microseconds for {} bytes", began.elapsed().as_secs_f64() * 100.0, text.len());
}

/// Words and marks that the rules look at.
#[rustfmt::skip]
const TELLING: &[&str] = &[
    "Ada", "the", "of", "and", "I", "I'm", "my sister", "'s", "\"", "``", "''", "(", ")", "\n", ".", ",", "1967", "June",
    "25", "$", "%", "km", "million", "#tag", "@me", "a@b.org", "http://x.y", "U.S.", "lives in", "likes", "born in",
    "Émile", "ß", "東京", "–", "&", "WHO", "Jr.", "von", "St.", "album", "2005-06", "\u{301}", "İ", "\0", " ",
];

fn check(text: &str) -> Result<(), TestCaseError> {
    let reading = read(text, Some("Ada Lovelace"));
    let mut end = 0;
    for entity in &reading.entities {
        prop_assert!(entity.start >= end && entity.start < entity.end);
        prop_assert!(text.get(entity.start..entity.end).is_some());
        prop_assert!(!entity.name.is_empty() && entity.name.len() <= MAX_NAME && !entity.name.contains('\0'));
        end = entity.end;
    }
    for triple in &reading.relations {
        prop_assert!(!triple.subject.is_empty() && triple.subject.len() <= MAX_NAME);
        prop_assert!(!triple.object.is_empty() && triple.object.len() <= MAX_NAME);
        prop_assert!(triple.subject != triple.object);
    }
    prop_assert!(reading.relations.len() <= 1_000 && reading.entities.len() <= 10_100);
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_read(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn any_order_of_telling_words_is_read(
        parts in prop::collection::vec(prop::sample::select(TELLING), 0..40),
        gaps in prop::collection::vec(any::<bool>(), 40),
    ) {
        let text: String = parts.iter().zip(gaps).flat_map(|(part, gap)| [*part, if gap { " " } else { "" }]).collect();
        check(&text)?;
    }

    #[test]
    fn a_normal_name_is_its_own_form(name in "\\PC{0,40}") {
        let once = normal(&name);
        prop_assert!(once.len() <= MAX_NAME);
        // A title or an article may be left of a name that begins with several.
        prop_assert!(normal(&once).len() <= once.len().max(20));
    }
}
