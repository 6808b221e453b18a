/**
 * @file The grammar of .np, network policy for Kubernetes.
 * @license Apache-2.0
 */

/// <reference types="tree-sitter-cli/dsl" />
// @ts-check

/** One or more elements, separated by commas; a trailing comma is allowed. */
const list = (rule) => seq(rule, repeat(seq(",", rule)), optional(","));

/** A list in parentheses. */
const many = (rule) => seq("(", list(rule), ")");

module.exports = grammar({
  name: "np",

  word: ($) => $.word,

  extras: ($) => [/[ \t\r\n\f\uFEFF]/, $.comment, $.doc_comment, $.file_comment],

  supertypes: ($) => [$._item],

  conflicts: ($) => [],

  rules: {
    source_file: ($) => repeat($._item),

    _item: ($) => choice($.import, $.let, $.policy, $.settings, $.test, $.assert),

    import: ($) => seq("import", field("path", $.string)),

    let: ($) => seq("let", field("name", $.name), "=", list($._term)),

    policy: ($) =>
      seq(
        optional("audit"),
        optional(field("tier", choice("admin", "baseline"))),
        "policy",
        field("name", $.name),
        optional(seq("priority", field("priority", $.word))),
        "for",
        field("subject", $.subject),
        field("body", $.policy_body),
      ),

    subject: ($) => list($._term),

    policy_body: ($) => seq("{", repeat(choice($.rule, $.isolate, $.settings)), "}"),

    rule: ($) =>
      seq(
        field("action", choice("allow", "deny", "pass")),
        choice(seq("ingress", "from"), seq("egress", "to")),
        field("peers", $.peers),
        optional($.on),
        optional("log"),
      ),

    peers: ($) => list($._peer),

    _peer: ($) => choice($.anywhere, $._term),

    anywhere: ($) => seq("anywhere", optional($.except)),

    on: ($) => seq("on", list($.set)),

    isolate: ($) => seq("isolate", list(choice("ingress", "egress"))),

    _term: ($) => choice($.pods, $.named),

    pods: ($) =>
      seq(choice(seq("all", "pods"), seq("pods", $.selector)), optional(seq("in", $.scope))),

    named: ($) => seq($.set, optional(seq("in", $.scope)), optional($.except)),

    except: ($) => seq("except", choice($.set, many($.address))),

    address: ($) => seq($.set, optional($.except)),

    scope: ($) =>
      prec.right(
        seq(
          choice(
            seq("all", "namespaces"),
            seq("namespace", field("namespace", choice($.name, $.string))),
            seq("namespaces", choice($.selector, many($.glob), seq("sharing", $._keys))),
            seq("same", "namespace"),
          ),
          optional(seq("except", choice($._left_out, many($._left_out)))),
        ),
      ),

    _keys: ($) => choice($.key, many($.key)),

    _left_out: ($) => choice($.glob, $.selector),

    glob: ($) => $.word,

    selector: ($) => seq("{", optional(list($.requirement)), "}"),

    requirement: ($) =>
      choice(
        seq("!", $.key),
        seq(
          $.key,
          optional(
            choice(
              seq(choice("=", "==", "!="), $.value),
              seq(choice("in", "notin"), many($.value)),
            ),
          ),
        ),
      ),

    key: ($) => choice($.word, $.string),

    value: ($) => choice($.word, $.string),

    settings: ($) => seq("kyverno", "{", repeat($.setting), "}"),

    setting: ($) => seq(field("key", alias($.word, $.key)), "=", field("value", $.value)),

    test: ($) => seq("test", field("name", $.string), field("body", $.test_body)),

    test_body: ($) =>
      seq("{", repeat(choice($.cluster, $.namespace, $.pod, $.expectation)), "}"),

    cluster: ($) => seq("cluster", field("path", $.string)),

    namespace: ($) => seq("namespace", field("name", $.name), optional($.selector)),

    pod: ($) =>
      seq(
        "pod",
        field("name", $.name),
        "in",
        field("namespace", $.name),
        optional($.selector),
        optional(seq("at", list($.end))),
        optional(seq("ports", "{", optional(list($.port)), "}")),
      ),

    port: ($) => seq(field("name", $.name), "=", field("number", $.set)),

    expectation: ($) =>
      seq(
        field("verdict", choice("allow", "deny")),
        field("source", $.end),
        "->",
        field("destination", $.end),
        optional($.on),
      ),

    assert: ($) =>
      seq(
        "assert",
        field("verdict", choice("allow", "deny")),
        field("source", $._term),
        "->",
        field("destination", $._peer),
        optional($.on),
      ),

    name: ($) => $.word,

    set: ($) => $.word,

    end: ($) => $.word,

    word: () => /[A-Za-z0-9_.:*?]+((-+|\/)[A-Za-z0-9_.:*?]+)*/,

    string: ($) => seq('"', repeat(choice($.escape, token.immediate(/[^"\\\r\n]+/))), token.immediate('"')),

    escape: () => token.immediate(/\\[^\r\n]/),

    // If two tokens match the same length, the first one defined wins: `////` is a plain comment.
    doc_comment: () => token(choice(/\/\/\/[^\/\r\n][^\r\n]*/, /\/\/\//)),

    file_comment: () => token(/\/\/![^\r\n]*/),

    comment: () => token(/\/\/[^\r\n]*/),
  },
});
