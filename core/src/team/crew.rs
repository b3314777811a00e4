//! The agents of an epic that names none.

use super::Agent;

/// A role, what it is good at, and what its model is told.
type Role = (&'static str, &'static [&'static str], &'static str);

const ROLES: &[Role] = &[
    ("researcher", &["find facts", "sources", "background", "compare options"], "State facts; say what is uncertain."),
    ("writer", &["write text", "summarise", "explain", "documentation"], "Write clearly and briefly."),
    ("engineer", &["write code", "implement", "software", "build", "integrate"], "Give complete, working code."),
    ("analyst", &["data", "numbers", "costs", "estimate", "requirements"], "Show the numbers and how they come about."),
    ("designer", &["design", "architecture", "interface", "structure"], "Give structure first, then detail."),
    ("tester", &["test", "verify", "quality", "edge cases"], "Look for what fails."),
    ("reviewer", &["review", "critique", "improve", "put together"], "Name what is wrong and mend it."),
    ("planner", &["plan", "schedule", "steps", "milestones", "organise"], "Give ordered steps."),
    ("marketer", &["audience", "message", "campaign", "product", "sales"], "Speak to the audience."),
    ("translator", &["translate", "language", "localise"], "Keep the meaning; sound natural."),
    ("security expert", &["security", "threats", "privacy", "compliance", "risk"], "Think as an attacker would."),
    ("operator", &["deploy", "operate", "monitor", "support", "infrastructure"], "Keep it simple to run."),
];

/// `count` agents: each role once, then again, numbered.
pub(super) fn agents(count: usize) -> Vec<Agent> {
    let role = |number: usize| {
        let (role, skills, instructions) = ROLES[number % ROLES.len()];
        let turn = number / ROLES.len() + 1;
        let name = role.replace(' ', "-");
        Agent {
            name: if count > ROLES.len() { format!("{name}-{turn}") } else { name },
            role: role.to_owned(),
            skills: skills.iter().map(ToString::to_string).collect(),
            instructions: instructions.to_owned(),
            ..Agent::default()
        }
    };
    (0..count).map(role).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_at_any_size() {
        for count in [1, 8, 12, 13, 100, 500] {
            let names: HashSet<_> = agents(count).into_iter().map(|agent| agent.name).collect();
            assert_eq!(names.len(), count);
        }
    }
}
