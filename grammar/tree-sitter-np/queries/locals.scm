; A set is visible in the whole file.
(source_file) @local.scope

(let name: (name) @local.definition.type)

(set) @local.reference
