from cohobate.cli import main

main()
