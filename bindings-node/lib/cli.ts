import { join } from 'node:path'
import { native } from './native.js'

/** Runs the command line with these arguments, without the name of the program; returns the exit code. */
export function run(args: string[]): number {
  return native.cli([process.execPath, join(__dirname, '..', 'bin', 'triune.mjs')], args)
}
