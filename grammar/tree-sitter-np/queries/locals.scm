; A set is known in its whole file.
(source_file) @local.scope

(let name: (name) @local.definition.type)

(set) @local.reference
