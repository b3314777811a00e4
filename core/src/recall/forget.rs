//! Forgetting: what is meant is looked up in a snapshot, then removed in one transaction.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    ForgetRequest,
    facets::Index,
    facts, graph,
    namespace::{self, check_name},
    record::Record,
    rows::Change,
};
use crate::{
    context::Context,
    error::{Error, Result},
    runtime::blocking,
    store::{Job, Read, Store, Write},
};

/// Checks that the request names something.
pub(super) fn check(request: &ForgetRequest) -> Result<()> {
    check_name("namespace", &request.namespace)?;
    for id in &request.ids {
        check_name("id", id)?;
    }
    if request.ids.is_empty() && request.filter.is_none() && !request.all {
        return Err(Error::invalid("nothing is named to forget; give `ids`, a `filter` or `all`"));
    }
    request.filter.as_ref().map_or(Ok(()), super::Filter::validate)
}

/// Removes what is meant; says how many items there were.
pub(super) async fn forget(cx: &Context, store: &Store, request: ForgetRequest) -> Result<usize> {
    let (reader, call) = (store.clone(), cx.clone());
    let (request, found) = blocking(move || {
        let found = reader.read(|read| meant(&call, read, &request))?;
        Ok((request, found))
    })
    .await?;
    let expected = found.count();
    let forgotten = Arc::new(AtomicUsize::new(expected));
    let count = Arc::clone(&forgotten);
    let job: Job = Box::new(move |write| {
        count.store(remove(write, &request, &found)?, Ordering::Relaxed);
        Ok(())
    });
    store.commit_with(cx.unit.as_ref(), false, job).await?;
    // A staged removal has not run yet: then it is what the snapshot held.
    Ok(forgotten.load(Ordering::Relaxed))
}

/// What is meant by a request.
enum Meant {
    All(usize),
    /// Those that are named, and those that met the filter; and how many of both were there.
    Some {
        named: Vec<String>,
        met: Vec<String>,
        there: usize,
    },
}

impl Meant {
    fn count(&self) -> usize {
        match self {
            Self::All(count) => *count,
            Self::Some { there, .. } => *there,
        }
    }
}

fn meant(cx: &Context, read: &Read<'_>, request: &ForgetRequest) -> Result<Meant> {
    let named = request.ids.clone();
    let Some(namespace) = namespace::find(read, &request.namespace)? else {
        return Ok(Meant::Some { named, met: Vec::new(), there: 0 });
    };
    if request.all {
        return Ok(Meant::All(usize::try_from(namespace.items).unwrap_or(usize::MAX)));
    }
    let mut there = HashSet::new();
    for id in &request.ids {
        if read.tables.ids.get(read.txn, &namespace.id_key(id))?.is_some() {
            there.insert(id.clone());
        }
    }
    let mut met = Vec::new();
    if let Some(filter) = &request.filter {
        let index = Index { cx, read, namespace: &namespace };
        for item in facts::meeting(&index, filter)? {
            let stored = read.tables.items.get(read.txn, &namespace.item_key(item))?;
            met.extend(stored.map(Record::from_bytes).transpose()?.map(|record| record.id));
        }
    }
    there.extend(met.iter().cloned());
    Ok(Meant::Some { named, met, there: there.len() })
}

fn remove(write: &mut Write<'_, '_>, request: &ForgetRequest, meant: &Meant) -> Result<usize> {
    let Some(mut change) = Change::begin_known(write, &request.namespace)? else { return Ok(0) };
    let (named, met) = match meant {
        Meant::All(_) => return change.clear(write),
        Meant::Some { named, met, .. } => (named, met),
    };
    let mut ids: Vec<&String> = named.iter().collect();
    for id in met {
        // It may have been replaced since.
        if let Some(filter) = &request.filter
            && change.meets(write, id, filter)?
        {
            ids.push(id);
        }
    }
    let mut count = 0;
    for id in ids {
        if change.remove(write, id)? {
            graph::remove_all_of(write, &change.namespace, id)?;
            count += 1;
        }
    }
    change.end(write)?;
    Ok(count)
}
