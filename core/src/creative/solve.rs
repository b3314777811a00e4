//! One problem, from the first question to the ranked ideas.

use futures_util::{StreamExt, stream};

use super::{
    Constraint, CreativeSolution, Idea, SolveRequest,
    engine::Inner,
    judge::Bill,
    measure::{creativity, mean, normal, novelty, rank},
    operators::{Question, question},
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::cosine,
    monitor::EventKind,
    recall::{RecallQuery, StoreRequest},
    router::{GenerateReply, GenerateRequest},
};

/// Questions asked at most, for each idea wanted.
const TRIES: usize = 3;
/// Remembered ideas that an idea is compared with: enough that the nearest by meaning is among them.
const COMPARED: usize = 200;

/// A search at work.
struct Search<'a> {
    cx: &'a Context,
    engine: &'a Inner,
    request: &'a SolveRequest,
    run: String,
    models: Vec<String>,
    found: Vec<Found>,
    repeats: usize,
    failed: Vec<Error>,
    bill: Bill,
    notes: Vec<String>,
}

/// An idea, and what it is compared by.
struct Found {
    idea: Idea,
    normal: String,
    vector: Option<Vec<f32>>,
}

pub(super) async fn solve(cx: &Context, engine: &Inner, request: &SolveRequest) -> Result<CreativeSolution> {
    // Ideas that cannot be compared and remembered are not paid for.
    engine.recall.check_namespace(cx, &request.namespace)?;
    // What is still being asked when the search ends is dropped with it.
    let cx = &cx.child();
    let mut probe = GenerateRequest::new(&question(request, 0, &[]).prompt);
    probe.needs = request.needs.clone();
    probe.sampling.max_tokens = Some(request.max_tokens);
    let models = engine.router.route(cx, &probe).await?.steps.into_iter().map(|step| step.model).collect();
    let mut search = Search {
        cx,
        engine,
        request,
        run: uuid::Uuid::now_v7().simple().to_string(),
        models,
        found: Vec::new(),
        repeats: 0,
        failed: Vec::new(),
        bill: Bill::default(),
        notes: Vec::new(),
    };
    search.look().await?;
    search.check().await?;
    search.remember().await?;
    Ok(search.finish())
}

impl Search<'_> {
    /// Asks for as many ideas as are missing, all at once, until there are enough or the tries are used up.
    async fn look(&mut self) -> Result<()> {
        let (wanted, most) = (self.request.ideas, self.request.ideas * TRIES);
        let mut tried = 0;
        while self.found.len() < wanted && tried < most && !self.out_of_money() {
            let wave = (wanted - self.found.len()).min(most - tried);
            let earlier: Vec<_> = self.found.iter().map(|found| found.idea.text.clone()).collect();
            let asks = (tried..tried + wave).map(|number| {
                let model = self.models[number % self.models.len()].clone();
                self.ask(model, question(self.request, number, &earlier))
            });
            let answers: Vec<_> = stream::iter(asks).buffered(self.engine.config.concurrency).collect().await;
            tried += wave;
            self.take(answers).await?;
        }
        if self.found.is_empty() {
            let nothing = || {
                Error::new(
                    ErrorKind::Rejected,
                    "the models gave only empty answers; ask a better model or allow more tokens",
                )
                .during("CreativeEngine::solve")
            };
            return Err(self.failed.pop().unwrap_or_else(nothing));
        }
        if self.found.len() < wanted {
            let found = self.found.len();
            self.notes
                .push(format!("{found} of {wanted} ideas were found in {tried} tries; {} were repeats", self.repeats));
        }
        if let Some(error) = self.failed.last() {
            self.notes.push(format!("{} tries failed, the last with {}", self.failed.len(), error.code()));
        }
        Ok(())
    }

    fn out_of_money(&self) -> bool {
        self.failed.iter().any(|error| error.kind() == ErrorKind::OverBudget)
    }

    async fn ask(&self, model: String, question: Question) -> Result<(GenerateReply, &'static str)> {
        let mut request = GenerateRequest::new(question.prompt);
        request.needs = self.request.needs.clone();
        request.needs.model = Some(model);
        request.sampling.temperature = Some(question.temperature);
        request.sampling.seed = question.seed;
        request.sampling.max_tokens = Some(self.request.max_tokens);
        let reply = Box::pin(self.engine.router.generate(self.cx, request)).await?;
        Ok((reply, question.operator))
    }

    /// Keeps new ideas, in the order they were asked for, and counts repeats.
    async fn take(&mut self, answers: Vec<Result<(GenerateReply, &'static str)>>) -> Result<()> {
        let mut new = Vec::new();
        for answer in answers {
            match answer {
                Ok((reply, operator)) => {
                    self.bill.add(&reply);
                    let text = reply.text.trim().to_owned();
                    let normal = normal(&text);
                    if !normal.is_empty() {
                        new.push((text, normal, reply.model, operator));
                    }
                }
                Err(error) => {
                    self.cx.check()?;
                    self.failed.push(error);
                }
            }
        }
        let vectors = self.embed(new.iter().map(|(text, ..)| text.clone()).collect()).await?;
        for ((text, normal, model, operator), vector) in new.into_iter().zip(vectors) {
            let nearest = self.nearest(vector.as_deref());
            let same = self.found.iter().any(|found| found.normal == normal);
            if same || nearest.is_some_and(|nearest| nearest >= self.engine.config.same_idea) {
                self.repeats += 1;
                continue;
            }
            let remembered = self.remembered(&text, &normal, vector.is_some()).await?;
            let nearest = [nearest, remembered].into_iter().flatten().reduce(f64::max);
            let novelty = novelty(nearest);
            let (run, index) = (self.run.clone(), self.found.len());
            self.cx.emit(EventKind::IdeaFound { run, index, model: model.clone(), novelty });
            let (feasibility, violated, unchecked) = (None, Vec::new(), Vec::new());
            let idea = Idea { text, model, operator: operator.to_owned(), novelty, feasibility, violated, unchecked };
            self.found.push(Found { idea, normal, vector });
        }
        Ok(())
    }

    /// The vectors of `texts`; none each without an embedder.
    async fn embed(&mut self, texts: Vec<String>) -> Result<Vec<Option<Vec<f32>>>> {
        let wanted = texts.len();
        let embedder = match self.engine.router.embedder() {
            Ok(embedder) => embedder,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let note = format!("novelty was not measured: {}", error.message());
                if !self.notes.contains(&note) {
                    self.notes.push(note);
                }
                return Ok(vec![None; wanted]);
            }
            Err(error) => return Err(error),
        };
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let made = self.cx.run(embedder.embed(self.cx, texts)).await?;
        if made.len() != wanted {
            return Err(Error::unexpected("the embedder did not give one vector for each text; mend it"));
        }
        Ok(made.into_iter().map(|embedding| Some(embedding.vector)).collect())
    }

    /// The highest cosine with an idea of this search.
    fn nearest(&self, vector: Option<&[f32]>) -> Option<f64> {
        let vector = vector?;
        let known = self.found.iter().filter_map(|found| found.vector.as_deref());
        known.map(|known| f64::from(cosine(vector, known))).reduce(f64::max)
    }

    /// The highest cosine with an idea that recall remembers; 1 for the very same.
    async fn remembered(&self, text: &str, normal_text: &str, embedded: bool) -> Result<Option<f64>> {
        if !embedded {
            return Ok(None);
        }
        let mut query = RecallQuery::new(text, COMPARED);
        query.namespace.clone_from(&self.request.namespace);
        let hits = self.engine.recall.query(self.cx, query).await?;
        let cosine = hits
            .iter()
            .filter_map(|hit| if normal(&hit.item.text) == normal_text { Some(1.0) } else { hit.why.meaning });
        Ok(cosine.reduce(f64::max))
    }

    /// Checks every idea by every constraint: by code, or by a judge that can be believed.
    async fn check(&mut self) -> Result<()> {
        let constraints = &self.request.constraints;
        let words: Vec<_> = constraints.iter().filter(|constraint| matches!(constraint, Constraint::Text(_))).collect();
        let mut judge = None;
        if !words.is_empty() {
            match self.engine.judge(self.cx, &self.request.needs, &mut self.bill).await {
                Ok(Ok(believed)) => judge = Some(believed),
                Ok(Err(note)) => self.notes.push(note),
                Err(error) => self.without_judge(&error)?,
            }
        }
        let mut judged = Vec::new();
        if let Some(judge) = judge {
            let questions = self
                .found
                .iter()
                .flat_map(|found| words.iter().map(|constraint| (constraint.to_string(), found.idea.text.clone())));
            match judge.judge(self.cx, questions.collect(), &mut self.bill).await {
                Ok(answers) => judged = answers,
                Err(error) => self.without_judge(&error)?,
            }
        }
        let mut judged = judged.into_iter();
        for found in &mut self.found {
            let answers = constraints.iter().map(|constraint| match constraint {
                Constraint::Check(check) => (constraint, Some(check.is_met(&found.idea.text))),
                Constraint::Text(_) => (constraint, judged.next().flatten()),
            });
            let mut met = 0;
            for (constraint, answer) in answers {
                match answer {
                    Some(true) => met += 1,
                    Some(false) => found.idea.violated.push(constraint.to_string()),
                    None => found.idea.unchecked.push(constraint.to_string()),
                }
            }
            let checked = met + found.idea.violated.len();
            found.idea.feasibility = (checked > 0).then(|| met as f64 / checked as f64);
        }
        Ok(())
    }

    /// Ideas that were paid for are not lost because the judge failed.
    fn without_judge(&mut self, error: &Error) -> Result<()> {
        self.cx.check()?;
        self.notes.push(format!("the judge failed with {}, so constraints in words were not checked", error.code()));
        Ok(())
    }

    /// Remembers the ideas, so that later ones are compared with them.
    async fn remember(&self) -> Result<()> {
        let items = self.found.iter().map(|Found { idea, .. }| {
            let mut item = StoreRequest::new(&idea.text);
            item.namespace.clone_from(&self.request.namespace);
            let facts =
                [("problem", self.request.problem.trim()), ("model", &idea.model), ("operator", &idea.operator)];
            item.metadata = facts.into_iter().map(|(name, fact)| (name.to_owned(), fact.into())).collect();
            item.metadata.insert("run".into(), self.run.clone().into());
            item
        });
        self.engine.recall.store_many(self.cx, items.collect()).await?;
        Ok(())
    }

    fn finish(self) -> CreativeSolution {
        let mut solutions: Vec<_> = self.found.into_iter().map(|found| found.idea).collect();
        rank(&mut solutions);
        let novelty_index = mean(solutions.iter().map(|idea| idea.novelty));
        let feasibility_score = mean(solutions.iter().map(|idea| idea.feasibility));
        CreativeSolution {
            solutions,
            novelty_index,
            feasibility_score,
            creativity_score: creativity(novelty_index, feasibility_score),
            repeats: self.repeats,
            cost: self.bill.cost,
            saved: self.bill.saved,
            notes: self.notes,
        }
    }
}
