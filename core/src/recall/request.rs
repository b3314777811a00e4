//! What recall is asked and answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Duplicates, Filter, Moment, NamespaceStatistics};

fn default_namespace() -> String {
    "default".into()
}

fn default_top() -> usize {
    10
}

fn one() -> f64 {
    1.0
}

/// Knowledge to keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct StoreRequest {
    /// The text, kept as it is. Not empty.
    pub content: String,
    /// Facts about it; filters work on them.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Keeps knowledge apart. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Its id. A fresh one when absent; a known one puts the new text in the place of the old.
    #[serde(default)]
    pub id: Option<String>,
    /// Its vector; embedded when absent. A text with a vector is found as a whole, however long it is.
    #[serde(default)]
    pub vector: Option<Vec<f32>>,
    /// The conversation or document it is part of. Items of a session follow each other in the order in which they were
    /// stored, and help each other to be found.
    #[serde(default)]
    pub session: Option<String>,
    /// Who said it. A question that names the speaker finds it sooner.
    #[serde(default)]
    pub speaker: Option<String>,
    /// Since when it is true; since ever when absent.
    #[serde(default)]
    pub valid_from: Option<Moment>,
    /// Until when it is true, itself not included; for ever when absent.
    #[serde(default)]
    pub valid_to: Option<Moment>,
    /// Milliseconds until it is forgotten; never when absent.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
    /// How much it matters, 0 to 1: of two that answer as well the more important comes first.
    #[serde(default)]
    pub importance: Option<f32>,
    /// Relations it tells of; `from` is the item where it is left out.
    #[serde(default)]
    pub relations: Vec<GivenRelation>,
    /// The id of what is true no more, since this item says it anew: it gets an end, and stays in the history.
    #[serde(default)]
    pub supersedes: Option<String>,
    /// What becomes of it when its text is there already under another id. Default `keep`.
    #[serde(default)]
    pub duplicates: Duplicates,
}

impl StoreRequest {
    /// Keeps `content` in the default namespace.
    pub fn new(content: impl Into<String>) -> Self {
        Self {
            content: content.into(),
            metadata: Map::new(),
            namespace: default_namespace(),
            id: None,
            vector: None,
            session: None,
            speaker: None,
            valid_from: None,
            valid_to: None,
            ttl_ms: None,
            importance: None,
            relations: Vec::new(),
            supersedes: None,
            duplicates: Duplicates::default(),
        }
    }
}

/// A relation that an item tells of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenRelation {
    /// What it goes from; the item when absent.
    #[serde(default)]
    pub from: Option<String>,
    /// What kind it is.
    pub kind: String,
    /// What it goes to.
    pub to: String,
    /// How strong it is. Default 1.
    #[serde(default = "one")]
    pub weight: f64,
}

/// A question to the memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RecallQuery {
    /// The question, or what is looked for.
    pub query: String,
    /// Hits wanted at most, 1 to 1,000. Default 10.
    #[serde(default = "default_top")]
    pub top: usize,
    /// Only items whose metadata meets it.
    #[serde(default)]
    pub filter: Option<Filter>,
    /// Where to look. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The vector of the query; embedded when absent.
    #[serde(default)]
    pub vector: Option<Vec<f32>>,
    /// So many of the best items, and at least `top`, are read by the reranker, whose scores then decide. 0 to 1,000.
    /// Default 0: none.
    #[serde(default)]
    pub rerank: usize,
    /// Only items of this session.
    #[serde(default)]
    pub session: Option<String>,
    /// Only items of this speaker.
    #[serde(default)]
    pub speaker: Option<String>,
    /// What was true at this time. Default: at the time of `as_of`, or now.
    #[serde(default)]
    pub valid_at: Option<Moment>,
    /// What was known at this time: items stored later are left out, and those replaced since are as they were.
    #[serde(default)]
    pub as_of: Option<Moment>,
    /// Also what is true no more, or not yet.
    #[serde(default)]
    pub include_ended: bool,
    /// How much hits are to differ from each other, 0 to 1 (maximal marginal relevance, Carbonell and Goldstein 1998). Default
    /// 0: the best ones, however alike.
    #[serde(default)]
    pub diversity: f64,
    /// Milliseconds after which an item counts for less by half of what decay can take, a fifth of its score. Default: none.
    #[serde(default)]
    pub half_life_ms: Option<u64>,
}

impl RecallQuery {
    /// Looks for `query` in the default namespace.
    pub fn new(query: impl Into<String>, top: usize) -> Self {
        Self {
            query: query.into(),
            top,
            filter: None,
            namespace: default_namespace(),
            vector: None,
            rerank: 0,
            session: None,
            speaker: None,
            valid_at: None,
            as_of: None,
            include_ended: false,
            diversity: 0.0,
            half_life_ms: None,
        }
    }
}

/// A stored item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Item {
    /// Its id.
    pub id: String,
    /// The text.
    pub text: String,
    /// Facts about it.
    pub metadata: Map<String, Value>,
    /// Where it is.
    pub namespace: String,
    /// When it was stored, in milliseconds since the Unix epoch.
    pub stored_ms: u64,
    /// Whether the embedder read only its beginning.
    #[serde(default)]
    pub truncated: bool,
    /// The conversation or document it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Who said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// Since when it is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Moment>,
    /// Until when it is true, itself not included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<Moment>,
    /// When it is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Moment>,
    /// How much it matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importance: Option<f32>,
    /// The id of what it says anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<String>,
    /// The id of what says it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
    /// The id of the item whose text is the same, or nearly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<String>,
}

/// A part of the text of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassageRange {
    /// Where it begins, in bytes of UTF-8.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

/// A version of an item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ItemVersion {
    /// What it said.
    #[serde(flatten)]
    pub item: Item,
    /// When another one took its place; none for the one there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Moment>,
}

/// The best passages for a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecallContext {
    /// The passages, one after the other, each below a line that names its source.
    pub text: String,
    /// About how many tokens it has: a token is taken for four characters, or for a character of a script without blanks.
    pub tokens: usize,
    /// What is in it, best first.
    pub hits: Vec<Hit>,
}

/// The parts of a score.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Why {
    /// Cosine of query and item, -1 to 1; none when one has no vector.
    pub meaning: Option<f64>,
    /// BM25 of the query's words in the item; none when no word is shared.
    pub words: Option<f64>,
    /// The words shared, stemmed.
    pub terms: Vec<String>,
    /// What else was added to the score, by name: `neighbours` (what is before and after it in its session), `speaker`,
    /// `time`, `phrase`, `importance`, `decay`, `graph`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub boosts: BTreeMap<String, f64>,
    /// The score that meaning and words gave, where a reranker gave another; none when there was no reranking.
    #[serde(default)]
    pub fused: Option<f64>,
}

/// An item that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hit {
    /// 0 to 1 with convex fusion and with a local reranker; higher is better; comparable within one answer only.
    pub score: f64,
    /// What the score is made of.
    pub why: Why,
    /// Where in the text of a long item the passage is that was found; its text is then `text`, and `get` gives the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passage: Option<PassageRange>,
    /// The item, with its provenance.
    #[serde(flatten)]
    pub item: Item,
}

/// Items to forget: by id, or all that meet a filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ForgetRequest {
    /// Where. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// These.
    #[serde(default)]
    pub ids: Vec<String>,
    /// And all that meet it.
    #[serde(default)]
    pub filter: Option<Filter>,
    /// And all there are.
    #[serde(default)]
    pub all: bool,
}

/// A relation to keep: `from` -`kind`-> `to`. Ends are names or ids of items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RelateRequest {
    /// Where. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// What it goes from.
    pub from: String,
    /// What kind it is.
    pub kind: String,
    /// What it goes to.
    pub to: String,
    /// How strong it is. Default 1.
    #[serde(default = "one")]
    pub weight: f64,
}

/// A kept relation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relation {
    /// What it goes from.
    pub from: String,
    /// What kind it is.
    pub kind: String,
    /// What it goes to.
    pub to: String,
    /// How strong it is.
    pub weight: f64,
}

impl Relation {
    /// The request that keeps it in `namespace`.
    pub(super) fn into_request(self, namespace: &str) -> RelateRequest {
        let Self { from, kind, to, weight } = self;
        RelateRequest { namespace: namespace.to_owned(), from, kind, to, weight }
    }
}

/// What is near something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NeighboursRequest {
    /// Where. Default `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Near this.
    pub of: String,
    /// Only relations of this kind.
    #[serde(default)]
    pub kind: Option<String>,
    /// Steps away at most, 1 to 5. Default 1.
    #[serde(default = "one_hop")]
    pub hops: u8,
    /// At most this many, nearest first. Default 10.
    #[serde(default = "default_top")]
    pub top: usize,
}

fn one_hop() -> u8 {
    1
}

fn five_hops() -> u8 {
    5
}

/// Something near.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its name or id.
    pub name: String,
    /// Steps away.
    pub hops: u8,
    /// The relation by which it was reached.
    pub relation: Relation,
}

/// What the engine `recall` is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecallRequest {
    /// Keeps knowledge; answers its id.
    Store(Box<StoreRequest>),
    /// Keeps much knowledge in one transaction; answers the ids in order.
    StoreMany {
        /// All of it.
        items: Vec<StoreRequest>,
    },
    /// Looks for knowledge.
    Query(RecallQuery),
    /// Reads one item.
    Get {
        /// Where. Default `default`.
        #[serde(default = "default_namespace")]
        namespace: String,
        /// Its id.
        id: String,
    },
    /// All versions of an item, and of what it says anew, the oldest first.
    History {
        /// Where. Default `default`.
        #[serde(default = "default_namespace")]
        namespace: String,
        /// Its id.
        id: String,
    },
    /// The best passages for a prompt.
    Context {
        /// What is looked for.
        query: RecallQuery,
        /// Tokens it may have at most, about.
        token_budget: usize,
    },
    /// Forgets.
    Forget(ForgetRequest),
    /// Keeps a relation.
    Relate(RelateRequest),
    /// What is near.
    Neighbours(NeighboursRequest),
    /// A shortest way between two names.
    Path {
        /// Where. Default `default`.
        #[serde(default = "default_namespace")]
        namespace: String,
        /// From here.
        from: String,
        /// To there.
        to: String,
        /// Steps at most, 1 to 5. Default 5.
        #[serde(default = "five_hops")]
        hops: u8,
    },
    /// What is nearest to some names by personalised PageRank.
    Rank {
        /// Where. Default `default`.
        #[serde(default = "default_namespace")]
        namespace: String,
        /// The names to begin at.
        seeds: Vec<String>,
        /// Names wanted at most. Default 10.
        #[serde(default = "default_top")]
        top: usize,
    },
    /// The relations among what is near a name.
    Subgraph(NeighboursRequest),
    /// The namespaces there are.
    Namespaces {},
    /// Embeds all texts of a namespace by the embedder there is; answers how many.
    Reembed {
        /// Which. Default `default`.
        #[serde(default = "default_namespace")]
        namespace: String,
    },
    /// What a namespace holds.
    Statistics {
        /// Which. Default `default`.
        #[serde(default = "default_namespace")]
        namespace: String,
    },
}

/// What the engine `recall` answers.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum RecallReply {
    /// To `store`.
    Id {
        /// The id.
        id: String,
    },
    /// To `store_many`.
    Ids {
        /// The ids.
        ids: Vec<String>,
    },
    /// To `query`.
    Hits {
        /// Best first.
        hits: Vec<Hit>,
    },
    /// To `get`.
    Item {
        /// The item; none when there is none.
        item: Option<Box<Item>>,
    },
    /// To `history`.
    Versions {
        /// The oldest first.
        versions: Vec<ItemVersion>,
    },
    /// To `context`.
    Context(RecallContext),
    /// To `forget`.
    Forgotten {
        /// How many.
        forgotten: usize,
    },
    /// To `relate`.
    Related {
        /// Whether the relation is new.
        new: bool,
    },
    /// To `neighbours`.
    Neighbours {
        /// Nearest first.
        neighbours: Vec<Neighbour>,
    },
    /// To `path`.
    Path {
        /// One after the other; none when there is no way.
        path: Option<Vec<Relation>>,
    },
    /// To `rank`.
    Ranked {
        /// Names and their rank, highest first; ranks of all names sum to 1.
        ranked: Vec<(String, f64)>,
    },
    /// To `subgraph`.
    Relations {
        /// The strongest first.
        relations: Vec<Relation>,
    },
    /// To `namespaces`.
    Namespaces {
        /// Their names.
        namespaces: Vec<String>,
    },
    /// To `reembed`.
    Reembedded {
        /// How many texts, and passages of long ones.
        reembedded: u64,
    },
    /// To `statistics`.
    Statistics {
        /// What it holds.
        statistics: Box<NamespaceStatistics>,
    },
}
