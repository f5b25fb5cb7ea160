use std::collections::BTreeMap;
use std::convert::Infallible;

use super::*;
use crate::limits::Limits;
use crate::session::fake::{Fake, block_on, short};

/// Sends the given queries, and logs all calls.
#[derive(Default)]
struct Log {
    initial: Vec<Request>,
    /// The queries that the reply to a command leads to.
    leads_to: BTreeMap<String, Vec<Request>>,
    repeated: Option<&'static str>,
    greetings: Vec<String>,
    replies: Vec<(Request, Reply)>,
    quarantined: Vec<(Request, String)>,
}

impl Log {
    fn querying(initial: Vec<Request>) -> Self {
        Self { initial, ..Self::default() }
    }

    fn replies(&self) -> Vec<&str> {
        self.replies.iter().map(|(request, _)| request.execute.as_str()).collect()
    }

    fn quarantined(&self) -> Vec<(&str, &str)> {
        self.quarantined
            .iter()
            .map(|(request, reason)| (request.execute.as_str(), reason.as_str()))
            .collect()
    }
}

impl Handler for Log {
    type Error = Infallible;

    fn on_greeting(&mut self, greeting: &str, executable: Executable) -> Result<(), Infallible> {
        assert!(executable.path.is_absolute());
        self.greetings.push(greeting.to_owned());
        Ok(())
    }

    fn initial_queries(&mut self) -> Vec<Request> {
        self.initial.clone()
    }

    fn must_be_repeated(&self, request: &Request) -> bool {
        self.repeated == Some(&request.execute)
    }

    fn on_reply(
        &mut self,
        request: &Request,
        reply: Reply,
        _: Duration,
    ) -> Result<Vec<Request>, Infallible> {
        self.replies.push((request.clone(), reply));
        Ok(self.leads_to.remove(&request.execute).unwrap_or_default())
    }

    fn on_quarantine(&mut self, request: &Request, reason: String) -> Result<(), Infallible> {
        self.quarantined.push((request.clone(), reason));
        Ok(())
    }
}

fn run(
    fake: &Fake,
    accelerator: &str,
    limits: &Limits,
    log: &mut Log,
) -> Result<ExchangeReport, ExchangeError<Infallible>> {
    let budget = Budget::new(limits);
    let result = block_on(exchange(&fake.launch(accelerator), &budget, log));
    fake.assert_gone();
    result
}

fn commands(names: &[&str]) -> Vec<Request> {
    names.iter().map(|name| Request::new(*name)).collect()
}

/// Returns an emulator that answers all commands; `cases` replace some answers.
fn answering(cases: &str) -> Fake {
    Fake::new(&format!(
        "negotiate; while receive; do case $name in {cases} *) answer \"\\\"$name\\\"\";; esac; done"
    ))
}

const FIVE: [&str; 5] = ["one", "two", "three", "four", "five"];

#[test]
fn all_queries_are_sent_and_replies_lead_to_further_ones() {
    let mut log = Log::querying(commands(&FIVE));
    log.leads_to.insert("two".into(), commands(&["six", "seven"]));
    log.leads_to.insert("seven".into(), commands(&["eight"]));
    let report = run(&answering(""), "tcg", &Limits::default(), &mut log).unwrap();
    assert_eq!(log.replies(), ["one", "two", "three", "four", "five", "six", "seven", "eight"]);
    assert_eq!(log.replies[0].1, Reply::Return("\"one\"".into()));
    assert_eq!(log.greetings.len(), 1);
    assert_eq!(report, ExchangeReport { starts: 1, lost: vec![], output: String::new() });
}

#[test]
fn a_handler_without_queries_receives_the_greeting_only() {
    let mut log = Log::default();
    let report = run(&answering(""), "tcg", &Limits::default(), &mut log).unwrap();
    assert_eq!((report.starts, log.greetings.len(), log.replies.len()), (1, 1, 0));
}

#[test]
fn any_query_that_kills_is_quarantined_and_all_others_are_answered() {
    for culprit in FIVE {
        let fake = answering(&format!("{culprit}) echo 'cannot do that' >&2; exit 1;;"));
        let mut log = Log::querying(commands(&FIVE));
        let report = run(&fake, "tcg", &Limits::default(), &mut log).unwrap();
        let reason = "exited with status 1: cannot do that";
        assert_eq!(log.quarantined(), [(culprit, reason)]);
        let others: Vec<_> = FIVE.into_iter().filter(|name| *name != culprit).collect();
        assert_eq!(log.replies(), others);
        assert_eq!(report.lost.len(), 2);
        assert_eq!(report.lost[1].output, "cannot do that\n");
        // The last restart is needed only if a query is left.
        assert!(report.starts == 3 || culprit == "one" || culprit == "five", "{report:?}");
    }
}

#[test]
fn a_query_that_answers_and_then_kills_is_quarantined_and_its_answer_does_not_count() {
    for culprit in FIVE {
        let fake = answering(&format!("{culprit}) answer 1; kill -ABRT $$;;"));
        let mut log = Log::querying(commands(&FIVE));
        run(&fake, "tcg", &Limits::default(), &mut log).unwrap();
        let reason = "answered, then was killed by signal 6 (SIGABRT)";
        assert_eq!(log.quarantined(), [(culprit, reason)]);
        let mut replies = log.replies();
        replies.sort_unstable();
        let mut others: Vec<_> = FIVE.into_iter().filter(|name| *name != culprit).collect();
        others.sort_unstable();
        assert_eq!(replies, others);
    }
}

#[test]
fn a_query_after_which_an_emulator_stops_responding_is_quarantined() {
    let fake = answering("three) answer 1; sleep 1000;;");
    let mut log = Log::querying(commands(&FIVE));
    let report = run(&fake, "tcg", &short(), &mut log).unwrap();
    assert_eq!(log.quarantined(), [("three", "answered, then stopped responding")]);
    assert_eq!(log.replies(), ["one", "two", "four", "five"]);
    assert_eq!(report.lost[0].reason, "gave no answer within 2 s");
}

#[test]
fn a_query_that_is_never_answered_is_quarantined() {
    let fake = answering("three) sleep 1000;;");
    let mut log = Log::querying(commands(&FIVE));
    run(&fake, "tcg", &short(), &mut log).unwrap();
    assert_eq!(log.quarantined(), [("three", "gave no answer within 2 s")]);
    assert_eq!(log.replies(), ["one", "two", "four", "five"]);
}

#[test]
fn a_query_with_an_endless_answer_is_quarantined() {
    let fake = answering(r"three) yes | tr -d '\n' >&3;;");
    let mut log = Log::querying(commands(&FIVE));
    let limits = Limits { line_bytes: 100_000, ..Limits::default() };
    run(&fake, "tcg", &limits, &mut log).unwrap();
    assert_eq!(log.quarantined(), [("three", "sent a line of more than 100000 bytes")]);
    assert_eq!(log.replies(), ["one", "two", "four", "five"]);
}

#[test]
fn several_culprits_in_a_row_are_all_found() {
    let fake = answering("two) answer 1; exit 2;; three) exit 3;; four) exec 3>&-; sleep 1000;;");
    let mut log = Log::querying(commands(&FIVE));
    run(&fake, "tcg", &Limits::default(), &mut log).unwrap();
    let mut quarantined = log.quarantined();
    quarantined.sort_unstable();
    let expected = [
        ("four", "closed its monitor"),
        ("three", "exited with status 3"),
        ("two", "answered, then exited with status 2"),
    ];
    assert_eq!(quarantined, expected);
    assert_eq!(log.replies(), ["one", "five"]);
}

#[test]
fn queries_that_kill_only_after_others_are_answered_in_isolation() {
    let fake = answering("one) seen=1; answer 1;; three) [ $seen ] && exit 1; answer 3;;");
    let mut log = Log::querying(commands(&FIVE));
    let report = run(&fake, "tcg", &Limits::default(), &mut log).unwrap();
    assert_eq!(log.quarantined(), []);
    let mut replies = log.replies();
    replies.sort_unstable();
    assert_eq!(replies, ["five", "four", "one", "three", "two"]);
    assert_eq!(report.lost.len(), 1);
}

#[test]
fn a_query_that_changes_others_is_repeated_after_a_restart_and_its_reply_passed_on_once() {
    let fake = answering(
        "types) loaded=yes; answer 1;; two) exit 1;; options) answer \"\\\"$loaded\\\"\";;",
    );
    let mut log = Log::querying(commands(&["types", "one", "two", "options"]));
    log.repeated = Some("types");
    run(&fake, "tcg", &Limits::default(), &mut log).unwrap();
    assert_eq!(log.replies(), ["types", "one", "options"]);
    assert_eq!(log.replies[2].1, Reply::Return("\"yes\"".into()));
}

#[test]
fn an_emulator_that_is_lost_at_every_query_is_given_up() {
    let names: Vec<_> = (0..40).map(|number| format!("query-{number}")).collect();
    let mut log = Log::querying(names.iter().map(Request::new).collect());
    let error = run(&Fake::new("negotiate; receive; exit 7"), "tcg", &Limits::default(), &mut log);
    let Err(ExchangeError::TooManyRestarts { restarts, last }) = error else { panic!("{error:?}") };
    assert_eq!((restarts, last.as_str()), (32, "exited with status 7"));
    assert_eq!(log.replies(), [""; 0]);
}

#[test]
fn an_emulator_that_starts_only_once_is_given_up() {
    let fake =
        Fake::new(r#"[ -e "$0.once" ] && exit 8; : > "$0.once"; negotiate; receive; exit 7"#);
    let mut log = Log::querying(commands(&FIVE));
    let error = run(&fake, "tcg", &Limits::default(), &mut log);
    let Err(ExchangeError::TooManyRestarts { last, .. }) = error else { panic!("{error:?}") };
    assert_eq!(last, "exited with status 8");
}

#[test]
fn an_emulator_that_is_replaced_during_the_exchange_is_noticed() {
    let fake = Fake::new(
        r#"[ -e "$0.once" ] && { say '{"QMP": {"version": 2}}'; receive; answer 1; receive; }
        : > "$0.once"; negotiate; receive; exit 7"#,
    );
    let error = run(&fake, "tcg", &Limits::default(), &mut Log::querying(commands(&FIVE)));
    assert!(matches!(error, Err(ExchangeError::Replaced)), "{error:?}");
}

#[test]
fn the_deadline_of_the_probe_ends_all_restarts() {
    let fake = answering("*) sleep 1000;;");
    let mut log = Log::querying(commands(&FIVE));
    let limits = Limits { probe: Duration::from_secs(3), ..short() };
    let error = run(&fake, "tcg", &limits, &mut log);
    let Err(ExchangeError::Deadline { waited, unanswered, .. }) = error else {
        panic!("{error:?}")
    };
    assert!(waited >= limits.probe && waited < 2 * limits.probe, "{waited:?}");
    assert_eq!(unanswered + log.quarantined.len(), 5);
}

#[test]
fn the_data_of_all_processes_together_is_limited() {
    let fake = answering(r#"two) yes '{"event": "X"}' | head -c 300000 >&3; exit 1;;"#);
    let limits = Limits { total_bytes: 500_000, ..Limits::default() };
    let error = run(&fake, "tcg", &limits, &mut Log::querying(commands(&FIVE)));
    assert!(
        matches!(error, Err(ExchangeError::TooMuchOutput { limit_bytes: 500_000 })),
        "{error:?}"
    );
}

#[test]
fn an_accelerator_that_an_emulator_lacks_is_an_error_of_the_start() {
    let Some(qemu) = Fake::installed("qemu-system-aarch64") else { return };
    let error = run(&qemu, "nonesuch", &Limits::default(), &mut Log::default());
    let Err(ExchangeError::Start(StartError::NoGreeting { cause, output, .. })) = error else {
        panic!("{error:?}")
    };
    assert!(cause.to_string().starts_with("exited with status 1: "), "{cause}");
    assert!(output.contains("invalid accelerator nonesuch"), "{output}");
}

/// Queries a real emulator for properties that kill it, among others that do not.
fn query_properties_that_kill(accelerator: &str) {
    let Some(qemu) = Fake::installed("qemu-system-x86_64") else { return };
    let about = |command: &str, name: &str| {
        Request::with(command, &serde_json::json!({ "typename": name }))
    };
    let device = |name| about("device-list-properties", name);
    let object = |name| about("qom-list-properties", name);
    let mut initial = commands(&["qom-list-types", "query-machines", "query-qmp-schema"]);
    initial.extend(["virtio-blk-pci", "virtio-gpu-gl-pci", "virtio-net-pci", "e1000"].map(device));
    initial.extend(
        ["iothread", "colo-compare", "filter-dump", "rng-random", "x-remote-object", "secret"]
            .map(object),
    );
    let mut log = Log::querying(initial.clone());
    log.repeated = Some("qom-list-types");
    log.leads_to.insert("query-machines".into(), commands(&["query-kvm", "query-cpu-definitions"]));
    let report = run(&qemu, accelerator, &Limits::default(), &mut log).unwrap();

    let mut expected = initial;
    expected.extend(commands(&["query-kvm", "query-cpu-definitions"]));
    for request in &expected {
        let replies = log.replies.iter().filter(|(sent, _)| sent == request).count();
        let quarantined = log.quarantined.iter().filter(|(one, _)| one == request).count();
        assert_eq!(replies + quarantined, 1, "{request:?}");
    }
    // The culprits depend on the version and on how it was built: an emulator that is sent one of them alone must be
    // lost, and by no other query.
    for request in &expected {
        let mut alone = Log::querying(vec![request.clone()]);
        let alone_report = run(&qemu, accelerator, &Limits::default(), &mut alone).unwrap();
        assert_eq!(
            log.quarantined.iter().any(|(one, _)| one == request),
            !alone_report.lost.is_empty(),
            "{request:?}: {:?}",
            log.quarantined
        );
    }
    let kvm = log.replies.iter().find(|(request, _)| request.execute == "query-kvm").unwrap();
    let enabled = format!("\"enabled\": {}", accelerator == "kvm");
    assert!(matches!(&kvm.1, Reply::Return(text) if text.contains(&enabled)), "{kvm:?}");
    eprintln!("{accelerator}: {} starts, quarantined {:#?}", report.starts, log.quarantined);
}

#[test]
fn a_real_emulator_answers_all_but_the_queries_that_kill_it_under_tcg() {
    query_properties_that_kill("tcg");
}

#[test]
fn a_real_emulator_answers_all_but_the_queries_that_kill_it_under_kvm() {
    if let Err(error) = std::fs::File::options().read(true).write(true).open("/dev/kvm") {
        eprintln!("skipped: /dev/kvm: {error}");
        return;
    }
    query_properties_that_kill("kvm");
}
