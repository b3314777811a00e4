//! What recall is asked and answers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Filter;

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
    /// Its vector; embedded when absent.
    #[serde(default)]
    pub vector: Option<Vec<f32>>,
}

impl StoreRequest {
    /// Keeps `content` in the default namespace.
    pub fn new(content: impl Into<String>) -> Self {
        Self { content: content.into(), metadata: Map::new(), namespace: default_namespace(), id: None, vector: None }
    }
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
}

impl RecallQuery {
    /// Looks for `query` in the default namespace.
    pub fn new(query: impl Into<String>, top: usize) -> Self {
        Self { query: query.into(), top, filter: None, namespace: default_namespace(), vector: None, rerank: 0 }
    }
}

/// A stored item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    Store(StoreRequest),
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
    /// Forgets.
    Forget(ForgetRequest),
    /// Keeps a relation.
    Relate(RelateRequest),
    /// What is near.
    Neighbours(NeighboursRequest),
    /// The namespaces there are.
    Namespaces {},
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
        item: Option<Item>,
    },
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
    /// To `namespaces`.
    Namespaces {
        /// Their names.
        namespaces: Vec<String>,
    },
}
