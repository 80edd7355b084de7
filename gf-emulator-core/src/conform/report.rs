//! What became of the scenarios: as text, JSON and XML.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::scenario::Scenario;
use crate::words::count;

/// How a scenario ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The machine did what is demanded.
    Passed,
    /// It did not.
    Failed {
        /// The step, counted from 1; `None` if it was after the last step or before the first.
        step: Option<usize>,
        /// What was wrong.
        reason: String,
    },
    /// It was not run.
    Skipped {
        /// Why.
        reason: String,
    },
    /// The run was stopped before it, or while it ran.
    Stopped,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Passed | Self::Stopped => Ok(()),
            Self::Failed { step: Some(step), reason } => write!(f, ": step {step}: {reason}"),
            Self::Failed { step: None, reason } | Self::Skipped { reason } => write!(f, ": {reason}"),
        }
    }
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed { .. } => "failed",
            Self::Skipped { .. } => "skipped",
            Self::Stopped => "stopped",
        }
    }
}

/// The result of one scenario. Texts of the machine in it have no known secrets and no control characters.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Verdict {
    /// The scenario's name.
    pub name: String,
    /// What it demands.
    pub demands: String,
    /// Why, with a heading of `PROTOCOL.md`.
    pub why: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen, a line each: the first 100.
    pub seen: Vec<String>,
    /// How long it took.
    pub time: Duration,
}

impl Verdict {
    pub(super) fn new(scenario: &Scenario, outcome: Outcome, seen: Vec<String>, time: Duration) -> Self {
        let clean = |text: String| text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let outcome = match outcome {
            Outcome::Failed { step, reason } => Outcome::Failed { step, reason: clean(reason) },
            other => other,
        };
        Self {
            name: scenario.name().to_owned(),
            demands: scenario.demands().to_owned(),
            why: scenario.why().to_owned(),
            outcome,
            seen,
            time,
        }
    }

    fn to_json(&self) -> Value {
        let (step, reason) = match &self.outcome {
            Outcome::Passed | Outcome::Stopped => (None, None),
            Outcome::Failed { step, reason } => (*step, Some(reason)),
            Outcome::Skipped { reason } => (None, Some(reason)),
        };
        json!({
            "name": self.name, "outcome": self.outcome.word(), "step": step, "reason": reason, "demands": self.demands,
            "why": self.why, "seconds": self.time.as_secs_f64(), "seen": self.seen,
        })
    }
}

/// A row of the table: name and outcome.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<44} {}", self.name, self.outcome)
    }
}

/// All verdicts of a run.
#[derive(Debug, Clone)]
pub struct Report {
    verdicts: Vec<Verdict>,
}

impl Report {
    /// Creates a report.
    #[must_use]
    pub fn new(verdicts: Vec<Verdict>) -> Self {
        Self { verdicts }
    }

    /// Returns the verdicts, in the order of the run.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// Returns the number of failed scenarios.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.number("failed")
    }

    /// Returns whether the run was stopped before its end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.number("stopped") > 0
    }

    fn number(&self, word: &str) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.outcome.word() == word).count()
    }

    /// Returns the report as JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        let scenarios: Vec<_> = self.verdicts.iter().map(Verdict::to_json).collect();
        let [passed, failed, skipped, stopped] =
            ["passed", "failed", "skipped", "stopped"].map(|word| self.number(word));
        let json = json!({
            "passed": passed, "failed": failed, "skipped": skipped, "stopped": stopped, "scenarios": scenarios
        });
        format!("{json:#}\n")
    }

    /// Returns the report as `JUnit` XML, which CI systems read.
    #[must_use]
    pub fn to_junit(&self) -> String {
        let seconds: f64 = self.verdicts.iter().map(|verdict| verdict.time.as_secs_f64()).sum();
        let counts = format!(
            "tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{seconds:.3}\"",
            self.verdicts.len(),
            self.failed(),
            self.number("skipped") + self.number("stopped")
        );
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n<testsuite name=\"conform\" {counts}>\n"
        );
        for verdict in &self.verdicts {
            xml.push_str(&verdict.to_junit());
        }
        xml.push_str("</testsuite>\n</testsuites>\n");
        xml
    }
}

impl Verdict {
    fn to_junit(&self) -> String {
        let result = match &self.outcome {
            Outcome::Passed => String::new(),
            Outcome::Failed { .. } => {
                let text = [&format!("{} ({})", self.demands, self.why), "Seen:"].map(escaped).join("\n");
                let seen: Vec<_> = self.seen.iter().map(|line| escaped(line) + "\n").collect();
                let (message, seen) = (escaped(&self.outcome.to_string()), seen.concat());
                format!("<failure message=\"{message}\">{text}\n{seen}</failure>\n")
            }
            Outcome::Skipped { reason } => format!("<skipped message=\"{}\"/>\n", escaped(reason)),
            Outcome::Stopped => "<skipped message=\"stopped\"/>\n".to_owned(),
        };
        let (name, seconds) = (escaped(&self.name), self.time.as_secs_f64());
        format!("<testcase classname=\"conform\" name=\"{name}\" time=\"{seconds:.3}\">\n{result}</testcase>\n")
    }
}

/// A sentence with the numbers.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = count(self.verdicts.len(), "scenario");
        let [passed, failed, skipped] = ["passed", "failed", "skipped"].map(|word| self.number(word));
        write!(f, "{all}: {passed} passed, {failed} failed, {skipped} skipped")?;
        if self.is_stopped() { write!(f, ", {} not run to the end", self.number("stopped")) } else { Ok(()) }
    }
}

/// Escapes text for XML 1.0, in elements and attributes. Characters that XML cannot have become U+FFFD.
fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\'' => xml.push_str("&apos;"),
            '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => xml.push(c),
            _ => xml.push('\u{fffd}'),
        }
    }
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(outcome: Outcome, seen: &[&str]) -> Verdict {
        let json = r#"{"name": "a", "demands": "X < Y.", "why": "Z.", "generation": "both", "steps": []}"#;
        let seen = seen.iter().map(|line| (*line).to_owned()).collect();
        Verdict::new(&Scenario::from_json(json).unwrap(), outcome, seen, Duration::from_millis(1500))
    }

    fn report() -> Report {
        let failed = Outcome::Failed { step: Some(2), reason: "no \"x\u{1b}[31m\" & <y>".to_owned() };
        let skipped = Outcome::Skipped { reason: "not for 1.x machines".to_owned() };
        let stopped = verdict(Outcome::Stopped, &[]);
        let seen = ["machine > service  ]]></failure>\u{fffe}\u{0}"];
        Report::new(vec![verdict(Outcome::Passed, &[]), verdict(failed, &seen), verdict(skipped, &[]), stopped])
    }

    #[test]
    fn junit_escapes_what_the_machine_sent() {
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="4" failures="1" errors="0" skipped="2" time="6.000">
<testsuite name="conform" tests="4" failures="1" errors="0" skipped="2" time="6.000">
<testcase classname="conform" name="a" time="1.500">
</testcase>
<testcase classname="conform" name="a" time="1.500">
<failure message="failed: step 2: no &quot;x?[31m&quot; &amp; &lt;y&gt;">X &lt; Y. (Z.)
Seen:
machine &gt; service  ]]&gt;&lt;/failure&gt;\u{fffd}\u{fffd}
</failure>
</testcase>
<testcase classname="conform" name="a" time="1.500">
<skipped message="not for 1.x machines"/>
</testcase>
<testcase classname="conform" name="a" time="1.500">
<skipped message="stopped"/>
</testcase>
</testsuite>
</testsuites>
"#;
        assert_eq!(report().to_junit(), expected.replace(r"\u{fffd}", "\u{fffd}"));
    }

    #[test]
    fn json_has_everything() {
        let json: Value = serde_json::from_str(&report().to_json()).unwrap();
        assert_eq!([&json["passed"], &json["failed"], &json["skipped"], &json["stopped"]], [1, 1, 1, 1]);
        assert_eq!(json["scenarios"][3]["outcome"], "stopped");
        let failed = &json["scenarios"][1];
        assert_eq!((&failed["outcome"], &failed["step"]), (&json!("failed"), &json!(2)));
        assert_eq!(failed["reason"], "no \"x?[31m\" & <y>");
        assert_eq!(json["scenarios"][2]["reason"], "not for 1.x machines");
    }

    #[test]
    fn the_sum_is_a_sentence() {
        assert_eq!(report().to_string(), "4 scenarios: 1 passed, 1 failed, 1 skipped, 1 not run to the end");
        assert_eq!(
            Report::new(vec![verdict(Outcome::Passed, &[])]).to_string(),
            "1 scenario: 1 passed, 0 failed, 0 skipped"
        );
        assert_eq!(report().failed(), 1);
        assert_eq!(report().verdicts()[1].outcome.to_string(), "failed: step 2: no \"x?[31m\" & <y>");
    }
}
