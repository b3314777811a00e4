// Builds the package: the native half by cargo, in the profile and the target folder of the workspace, so that nothing
// is compiled twice; the TypeScript half by tsc.
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, renameSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const only = process.argv.find((argument) => argument.startsWith('--only='))?.slice('--only='.length)

const run = (command, args, options = {}) =>
  execFileSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], ...options })

function native() {
  const args = ['build', '--package', 'triune-node', '--message-format', 'json-render-diagnostics']
  let messages
  try {
    messages = run('cargo', args, { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8', maxBuffer: 1 << 28 })
  } catch (error) {
    if (error.code !== 'ENOENT') throw new Error('the native half of triune does not build; see above', { cause: error })
    throw new Error('triune is built from source: install Rust from https://rustup.rs and run this again')
  }
  const library = messages
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
    .filter((message) => message.reason === 'compiler-artifact' && message.target.name === 'triune_node')
    .flatMap((message) => message.filenames)
    .find((file) => /\.(so|dylib|dll)$/.test(file))
  if (!library) throw new Error('cargo built no library of triune-node')
  // Put in place at once: a process that runs the old one keeps it.
  copyFileSync(library, join(root, 'native.node.new'))
  renameSync(join(root, 'native.node.new'), join(root, 'native.node'))
}

function types() {
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  // A folder that is installed as a dependency does not get its own development dependencies.
  if (!existsSync(tsc)) run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', root])
  run(process.execPath, [tsc, '--project', 'tsconfig.json'])
}

if (only !== 'types') native()
if (only !== 'native') types()
