// Checked by `npm run typecheck`; never run.
import triune = require('triune')

export const open = (): Promise<triune.Triune> => triune.Triune.open('./mind')
