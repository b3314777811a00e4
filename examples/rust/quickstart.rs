//! Knowledge stored and found again, and a text from a local model, with what it cost and saved. Offline.
//!
//! `cargo run -p triune --example quickstart` (models: `triune models pull smollm2-135m all-minilm-l6-v2`)

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use triune::{
    Triune,
    model::Sampling,
    recall::{RecallQuery, StoreRequest},
    router::GenerateRequest,
};

#[tokio::main]
async fn main() -> triune::Result<()> {
    let folder = std::env::temp_dir().join(format!("triune-quickstart-{}", std::process::id()));
    let mind = Triune::open(&folder.to_string_lossy()).await?;
    let cx = mind.context();

    mind.store_knowledge(&cx, StoreRequest::new("Ada moved to Paris in 2024")).await?;
    mind.store_knowledge(&cx, StoreRequest::new("The canteen closes at three")).await?;
    for hit in mind.recall_knowledge(&cx, RecallQuery::new("Where does Ada live?", 1)).await? {
        println!("{:.2} {}", hit.score, hit.item.text);
    }

    let mut request = GenerateRequest::new("Say hello to Ada in one sentence.");
    request.sampling = Sampling { max_tokens: Some(30), seed: Some(1), ..Sampling::default() };
    let reply = mind.generate(&cx, request).await?;
    println!("{} ({}, cost {}, saved {})", reply.text, reply.model, reply.cost, reply.saved);

    mind.close().await;
    // The example leaves nothing behind.
    let _ = std::fs::remove_dir_all(folder);
    Ok(())
}
