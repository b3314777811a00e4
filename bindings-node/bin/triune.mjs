#!/usr/bin/env node
import cli from '../dist/cli.js'

process.exitCode = cli.run(process.argv.slice(2))
