//! Relations in `edges`, and ways along them. Shared by the engine and the graph store.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    Neighbour, Relation,
    namespace::{self, MAX_NAME, Namespace},
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    runtime::blocking,
    store::{Job, Read, Store, Write},
};

/// Bytes of a kind at most.
const MAX_KIND: usize = 100;
/// Bytes of two ends and a kind at most: with the namespace, the way and two separators they are a key of LMDB, which
/// has 511 bytes.
const MAX_RELATION: usize = 511 - 4 - 1 - 2;
/// Relations that a ranking takes in at most.
const MAX_RANKED: usize = 2_000_000;
/// Names that the search of a path looks at, at most.
const MAX_VISITED: usize = 1_000_000;
/// Steps at most.
const MAX_HOPS: u8 = 5;
/// Probability to start again at the seeds.
const RESTART: f64 = 0.15;

/// Which way a relation is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Forth = 0,
    Back = 1,
}

/// Checks what a relation is made of.
pub(super) fn check(relation: &Relation) -> Result<()> {
    check_parts(relation)?;
    if !(relation.weight.is_finite() && relation.weight > 0.0) {
        return Err(Error::invalid("the weight of a relation is a number above 0").with("weight", relation.weight));
    }
    Ok(())
}

fn check_parts(relation: &Relation) -> Result<()> {
    check_end(&relation.from)?;
    check_end(&relation.to)?;
    check_kind(&relation.kind)?;
    let bytes = relation.from.len() + relation.kind.len() + relation.to.len();
    if bytes > MAX_RELATION {
        let message =
            format!("the ends and the kind of a relation have at most {MAX_RELATION} bytes together; use shorter ids");
        return Err(Error::invalid(message).with("bytes", bytes));
    }
    Ok(())
}

/// Checks the name of an end of a relation.
fn check_end(name: &str) -> Result<()> {
    check_text("name in a graph", name, MAX_NAME)
}

/// Checks the kind of a relation.
fn check_kind(kind: &str) -> Result<()> {
    check_text("kind of a relation", kind, MAX_KIND)
}

fn check_text(what: &'static str, text: &str, most: usize) -> Result<()> {
    if text.is_empty() || text.len() > most || text.contains('\0') {
        let message = format!("a {what} is 1 to {most} bytes of text without NUL");
        return Err(Error::invalid(message).with("bytes", text.len()));
    }
    Ok(())
}

fn check_hops(hops: u8) -> Result<()> {
    if !(1..=MAX_HOPS).contains(&hops) {
        return Err(Error::invalid(format!("`hops` is 1 to {MAX_HOPS}")).with("hops", hops));
    }
    Ok(())
}

/// Writes `relations`; says how many are new. With a unit of work: how many are new now.
pub(super) async fn upsert(cx: &Context, store: &Store, name: &str, relations: Vec<Relation>) -> Result<usize> {
    cx.check()?;
    relations.iter().try_for_each(check)?;
    if relations.is_empty() {
        return Ok(0);
    }
    change(cx, store, name, relations, Change::Put).await
}

/// Removes `relations`; says how many there were.
pub(super) async fn delete(cx: &Context, store: &Store, name: &str, relations: Vec<Relation>) -> Result<usize> {
    cx.check()?;
    if relations.is_empty() {
        return Ok(0);
    }
    relations.iter().try_for_each(check_parts)?;
    change(cx, store, name, relations, Change::Remove).await
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Put,
    Remove,
}

/// Says how many relations were not as wanted before.
async fn change(cx: &Context, store: &Store, name: &str, relations: Vec<Relation>, wanted: Change) -> Result<usize> {
    // Known before the write, for a unit of work runs it later.
    let known = store.read(|read| {
        let Some(namespace) = namespace::find(read, name)? else { return Ok(0) };
        let mut known = 0;
        for relation in &relations {
            let key = key(&namespace, Way::Forth, relation);
            known += usize::from(read.tables.edges.get(read.txn, &key)?.is_some());
        }
        Ok(known)
    })?;
    let expected = if wanted == Change::Put { relations.len() - known } else { known };
    let changed = Arc::new(AtomicUsize::new(expected));
    let (count, name) = (Arc::clone(&changed), name.to_owned());
    let job: Job = Box::new(move |write| {
        let namespace = match (wanted, namespace::find_in(write, &name)?) {
            (_, Some(known)) => known,
            (Change::Put, None) => namespace::find_or_make(write, &name)?,
            (Change::Remove, None) => return Ok(()),
        };
        let mut different = 0;
        for relation in &relations {
            different += usize::from(match wanted {
                Change::Put => put(write, &namespace, relation)?,
                Change::Remove => remove(write, &namespace, relation)?,
            });
        }
        count.store(different, Ordering::Relaxed);
        Ok(())
    });
    store.commit_with(cx.unit.as_ref(), false, job).await?;
    Ok(changed.load(Ordering::Relaxed))
}

/// What is within `hops` steps of `of`, nearest first; at equal distance, the strongest relation first.
pub(super) async fn neighbours(
    cx: &Context,
    store: &Store,
    name: String,
    of: String,
    kind: Option<String>,
    (hops, top): (u8, usize),
) -> Result<Vec<Neighbour>> {
    check_end(&of)?;
    kind.as_deref().map_or(Ok(()), check_kind)?;
    check_hops(hops)?;
    super::engine::check_top(top)?;
    look(cx, store, move |cx, read| walk(cx, read, &name, (&of, kind.as_deref()), (hops, top))).await
}

/// The relations among `of` and the `top` names within `hops` steps of it, the strongest first.
pub(super) async fn subgraph(
    cx: &Context,
    store: &Store,
    name: String,
    of: String,
    kind: Option<String>,
    (hops, top): (u8, usize),
) -> Result<Vec<Relation>> {
    check_end(&of)?;
    kind.as_deref().map_or(Ok(()), check_kind)?;
    check_hops(hops)?;
    super::engine::check_top(top)?;
    look(cx, store, move |cx, read| {
        let Some(namespace) = namespace::find(read, &name)? else { return Ok(Vec::new()) };
        let near = walk(cx, read, &name, (&of, kind.as_deref()), (hops, top))?;
        let names: HashSet<&str> = near.iter().map(|near| near.name.as_str()).chain([of.as_str()]).collect();
        let mut relations = Vec::new();
        for node in &names {
            cx.check()?;
            let all = of_node(read, &namespace, node, kind.as_deref())?.into_iter();
            // Each is found at both of its ends.
            relations.extend(all.filter(|relation| relation.from == **node && names.contains(relation.to.as_str())));
        }
        strongest_first(&mut relations);
        Ok(relations)
    })
    .await
}

/// A shortest way from `from` to `to`; none when there is none of at most `hops` steps.
pub(super) async fn path(
    cx: &Context,
    store: &Store,
    name: String,
    (from, to): (String, String),
    hops: u8,
) -> Result<Option<Vec<Relation>>> {
    check_end(&from)?;
    check_end(&to)?;
    check_hops(hops)?;
    look(cx, store, move |cx, read| find_path(cx, read, &name, (&from, &to), hops)).await
}

/// The `top` names by personalised PageRank from `seeds`; seeds that are not in the graph are left out.
pub(super) async fn rank(
    cx: &Context,
    store: &Store,
    name: String,
    seeds: Vec<String>,
    top: usize,
) -> Result<Vec<(String, f64)>> {
    super::engine::check_top(top)?;
    if seeds.is_empty() {
        return Err(Error::invalid("a ranking starts somewhere; give at least one seed"));
    }
    look(cx, store, move |cx, read| rank_from(cx, read, &name, &seeds, top)).await
}

async fn look<T: Send + 'static>(
    cx: &Context,
    store: &Store,
    look: impl FnOnce(&Context, &Read<'_>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (call, store) = (cx.clone(), store.clone());
    cx.run(blocking(move || store.read(|read| look(&call, read)))).await
}

fn key(namespace: &Namespace, way: Way, relation: &Relation) -> Vec<u8> {
    let (near, far) = match way {
        Way::Forth => (&relation.from, &relation.to),
        Way::Back => (&relation.to, &relation.from),
    };
    let prefix = namespace.prefix();
    [&prefix[..], &[way as u8], near.as_bytes(), &[0], relation.kind.as_bytes(), &[0], far.as_bytes()].concat()
}

/// Writes `relation`; says whether it is new.
pub(super) fn put(write: &mut Write<'_, '_>, namespace: &Namespace, relation: &Relation) -> Result<bool> {
    let edges = write.tables.edges;
    let forth = key(namespace, Way::Forth, relation);
    let new = edges.get(write.txn, &forth)?.is_none();
    edges.put_json(write.txn, &forth, relation)?;
    edges.put_json(write.txn, &key(namespace, Way::Back, relation), relation)?;
    Ok(new)
}

/// Removes `relation`; says whether it was there.
fn remove(write: &mut Write<'_, '_>, namespace: &Namespace, relation: &Relation) -> Result<bool> {
    let edges = write.tables.edges;
    edges.delete(write.txn, &key(namespace, Way::Back, relation))?;
    edges.delete(write.txn, &key(namespace, Way::Forth, relation))
}

/// All relations, by the name they go from.
pub(super) fn all<'t>(
    read: &Read<'t>,
    namespace: &Namespace,
) -> Result<impl Iterator<Item = Result<Relation>> + use<'t>> {
    let edges = read.tables.edges;
    let prefix = [&namespace.prefix()[..], &[Way::Forth as u8]].concat();
    Ok(edges.prefix(read.txn, &prefix)?.map(move |row| edges.parse(row?.1)))
}

/// How many relations go forth, how many back, and how many of both have no counterpart.
pub(super) fn counts(read: &Read<'_>, namespace: &Namespace) -> Result<(u64, u64, u64)> {
    let edges = read.tables.edges;
    let (mut ways, mut alone) = ([0, 0], 0);
    for row in edges.prefix(read.txn, &namespace.prefix())? {
        let (here, value) = row?;
        let relation: Relation = edges.parse(value)?;
        let keys = [Way::Forth, Way::Back].map(|way| key(namespace, way, &relation));
        let way = usize::from(here.get(4) == Some(&(Way::Back as u8)));
        ways[way] += 1;
        let other = edges.get(read.txn, &keys[1 - way])?;
        alone += u64::from(here != keys[way] || other != Some(value));
    }
    Ok((ways[0], ways[1], alone))
}

/// How many relations there are.
pub(super) fn count(read: &Read<'_>, namespace: &Namespace) -> Result<u64> {
    let prefix = [&namespace.prefix()[..], &[Way::Forth as u8]].concat();
    read.tables.edges.keys(read.txn, &prefix)?.map(|key| key.map(|_| 1)).sum()
}

/// Removes every relation that `name` is an end of.
pub(super) fn remove_all_of(write: &mut Write<'_, '_>, namespace: &Namespace, name: &str) -> Result<()> {
    // A name that cannot be an end has no relations.
    if check_end(name).is_err() {
        return Ok(());
    }
    let read = Read { tables: write.tables, txn: write.txn };
    let relations = of_node(&read, namespace, name, None)?;
    for relation in relations {
        remove(write, namespace, &relation)?;
    }
    Ok(())
}

/// The relations of a node, both ways, the strongest first.
fn of_node(read: &Read<'_>, namespace: &Namespace, node: &str, kind: Option<&str>) -> Result<Vec<Relation>> {
    let mut relations: Vec<Relation> = Vec::new();
    for way in [Way::Forth, Way::Back] {
        let mut prefix = [&namespace.prefix()[..], &[way as u8], node.as_bytes(), &[0]].concat();
        if let Some(kind) = kind {
            prefix.extend(kind.as_bytes());
            prefix.push(0);
        }
        for row in read.tables.edges.prefix(read.txn, &prefix)? {
            let relation: Relation = read.tables.edges.parse(row?.1)?;
            // A relation of a node with itself is found both ways.
            if way == Way::Forth || relation.from != relation.to {
                relations.push(relation);
            }
        }
    }
    strongest_first(&mut relations);
    Ok(relations)
}

fn strongest_first(relations: &mut [Relation]) {
    relations.sort_by(|a, b| {
        b.weight.total_cmp(&a.weight).then_with(|| (&a.from, &a.kind, &a.to).cmp(&(&b.from, &b.kind, &b.to)))
    });
}

fn other_end<'r>(relation: &'r Relation, node: &str) -> &'r str {
    if relation.from == node { &relation.to } else { &relation.from }
}

/// What is within `hops` steps of `of`, nearest first; at equal distance, the strongest relation first.
fn walk(
    cx: &Context,
    read: &Read<'_>,
    name: &str,
    (of, kind): (&str, Option<&str>),
    (hops, top): (u8, usize),
) -> Result<Vec<Neighbour>> {
    let Some(namespace) = namespace::find(read, name)? else { return Ok(Vec::new()) };
    let mut seen = HashSet::from([of.to_owned()]);
    let mut edge = vec![of.to_owned()];
    let mut found: Vec<Neighbour> = Vec::new();
    for hop in 1..=hops {
        let mut next = Vec::new();
        for node in &edge {
            cx.check()?;
            for relation in of_node(read, &namespace, node, kind)? {
                let far = other_end(&relation, node);
                if seen.insert(far.to_owned()) {
                    next.push(Neighbour { name: far.to_owned(), hops: hop, relation });
                }
            }
        }
        next.sort_by(|a, b| b.relation.weight.total_cmp(&a.relation.weight).then_with(|| a.name.cmp(&b.name)));
        edge = next.iter().map(|neighbour| neighbour.name.clone()).collect();
        found.append(&mut next);
        // What is further away cannot come before what was found.
        if found.len() >= top || edge.is_empty() {
            break;
        }
    }
    found.truncate(top);
    Ok(found)
}

/// A shortest way from `from` to `to`; none when there is none of at most `hops` steps.
fn find_path(
    cx: &Context,
    read: &Read<'_>,
    name: &str,
    (from, to): (&str, &str),
    hops: u8,
) -> Result<Option<Vec<Relation>>> {
    if from == to {
        return Ok(Some(Vec::new()));
    }
    let Some(namespace) = namespace::find(read, name)? else { return Ok(None) };
    // Each name and the step by which it was reached.
    let mut came: HashMap<String, Option<(String, Relation)>> = HashMap::from([(from.to_owned(), None)]);
    let mut queue = VecDeque::from([(from.to_owned(), 0_u8)]);
    while let Some((node, steps)) = queue.pop_front() {
        if steps == hops {
            break;
        }
        cx.check()?;
        for relation in of_node(read, &namespace, &node, None)? {
            let far = other_end(&relation, &node).to_owned();
            if came.contains_key(&far) {
                continue;
            }
            came.insert(far.clone(), Some((node.clone(), relation)));
            if far == to {
                return Ok(Some(walk_back(&mut came, to)));
            }
            queue.push_back((far, steps + 1));
        }
        if came.len() > MAX_VISITED {
            return Err(too_large("a path", MAX_VISITED));
        }
    }
    Ok(None)
}

fn walk_back(came: &mut HashMap<String, Option<(String, Relation)>>, to: &str) -> Vec<Relation> {
    let mut way = Vec::new();
    let mut at = to.to_owned();
    while let Some(Some((before, relation))) = came.remove(&at) {
        way.push(relation);
        at = before;
    }
    way.reverse();
    way
}

fn too_large(what: &str, most: usize) -> Error {
    let message = format!("{what} looks at {most} relations or names at most; split the graph or ask for fewer hops");
    Error::new(ErrorKind::Unsupported, message)
}

/// The `top` names by personalised PageRank from `seeds`; seeds that are not in the graph are left out.
fn rank_from(cx: &Context, read: &Read<'_>, name: &str, seeds: &[String], top: usize) -> Result<Vec<(String, f64)>> {
    let Some(namespace) = namespace::find(read, name)? else { return Ok(Vec::new()) };
    let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
    let mut links: Vec<(u32, u32, f64)> = Vec::new();
    let prefix = [&namespace.prefix()[..], &[Way::Forth as u8]].concat();
    for row in read.tables.edges.prefix(read.txn, &prefix)? {
        let relation: Relation = read.tables.edges.parse(row?.1)?;
        let mut number = |name: String| {
            let next = numbers.len() as u32;
            *numbers.entry(name).or_insert(next)
        };
        let (from, to) = (number(relation.from), number(relation.to));
        links.push((from, to, relation.weight));
        if links.len() > MAX_RANKED {
            return Err(too_large("a ranking", MAX_RANKED));
        }
        if links.len().is_multiple_of(4_096) {
            cx.check()?;
        }
    }
    let starts: Vec<u32> = seeds.iter().filter_map(|seed| numbers.get(seed).copied()).collect();
    let ranks = page_rank(cx, numbers.len(), &links, &starts)?;
    let mut ranked: Vec<(String, f64)> =
        numbers.into_iter().filter_map(|(name, number)| Some((name, *ranks.get(number as usize)?))).collect();
    ranked.retain(|(_, rank)| *rank > 0.0);
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    ranked.truncate(top);
    Ok(ranked)
}

/// Personalised PageRank by power iteration over links that are followed both ways. Empty without starts.
fn page_rank(cx: &Context, nodes: usize, links: &[(u32, u32, f64)], starts: &[u32]) -> Result<Vec<f64>> {
    if starts.is_empty() {
        return Ok(Vec::new());
    }
    let mut strength = vec![0.0; nodes];
    for &(a, b, weight) in links {
        strength[a as usize] += weight;
        // A link of a node with itself is one link.
        if a != b {
            strength[b as usize] += weight;
        }
    }
    let mut restart = vec![0.0; nodes];
    for start in starts {
        restart[*start as usize] += 1.0 / starts.len() as f64;
    }
    let mut rank = restart.clone();
    // 0.85^200 is below 1e-14: what a longer walk adds is not seen.
    for _ in 0..200 {
        cx.check()?;
        let mut next: Vec<f64> = restart.iter().map(|share| share * RESTART).collect();
        for &(a, b, weight) in links {
            let (a, b) = (a as usize, b as usize);
            next[b] += (1.0 - RESTART) * rank[a] * weight / strength[a];
            if a != b {
                next[a] += (1.0 - RESTART) * rank[b] * weight / strength[b];
            }
        }
        let change: f64 = next.iter().zip(&rank).map(|(new, old)| (new - old).abs()).sum();
        rank = next;
        if change < 1e-10 {
            break;
        }
    }
    Ok(rank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rank_of_two_nodes_is_the_closed_form() {
        // r0 = .15 + .85 r1 and r1 = .85 r0.
        let ranks = page_rank(&Context::new(), 2, &[(0, 1, 3.0)], &[0]).unwrap();
        let expected = 0.15 / (1.0 - 0.85 * 0.85);
        assert!((ranks[0] - expected).abs() < 1e-9 && (ranks[1] - 0.85 * expected).abs() < 1e-9);
    }

    #[test]
    fn a_key_of_the_longest_parts_fits_into_lmdb() {
        let to = "t".repeat(MAX_RELATION - MAX_NAME - MAX_KIND);
        let longest = Relation { from: "f".repeat(MAX_NAME), kind: "k".repeat(MAX_KIND), to, weight: 1.0 };
        check(&longest).unwrap();
        assert!(key(&Namespace::default(), Way::Back, &longest).len() == 511);
    }

    proptest! {
        #[test]
        fn ranks_sum_to_one(raw in prop::collection::vec((0..12_u32, 0..12_u32, 0.01..9.0_f64), 1..40), start in 0..12_u32) {
            let starts: Vec<u32> = raw.iter().any(|l| l.0 == start || l.1 == start).then_some(start).into_iter().collect();
            let ranks = page_rank(&Context::new(), 12, &raw, &starts).unwrap();
            prop_assert!(starts.is_empty() == ranks.is_empty());
            let sum: f64 = ranks.iter().sum();
            prop_assert!(starts.is_empty() || (sum - 1.0).abs() < 1e-6);
        }
    }
}
